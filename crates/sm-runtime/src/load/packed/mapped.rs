//! A file of packed weights, mapped: its pages are shared by all processes that run the model, and loading reads it once.
//!
//! The file stays open to the world while we compute from it. So two things are watched: that no page is missing
//! (`sigbus.rs`), and, after each step, that length and time of the file are what they were. What a step computed in the
//! meantime is discarded by whoever asks [`MappedFile::check`].
//!
//! Copying the file into memory of our own would need neither, but takes the memory once per process, and as long again as
//! checking it. Locking keeps nobody from truncating, and leases (`F_SETLEASE`) make the other process wait instead.
#![allow(unsafe_code, reason = "mapping a file is inherently unsafe; it happens only here")]

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

#[cfg(unix)]
use super::sigbus::Watch;

/// A file that is mapped into memory, read-only.
#[derive(Debug)]
pub(super) struct MappedFile {
    // Before the mapping, which it watches and must not outlive.
    #[cfg(unix)]
    watch: Watch,
    map: Mmap,
    file: File,
    path: PathBuf,
    opened: State,
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    n_bytes: u64,
    modified: Option<SystemTime>,
}

impl State {
    /// Without the time of the last change to the inode, which a new name changes too: a load of another model may replace
    /// the name of this file, and that is harmless.
    fn of(metadata: &Metadata) -> Self {
        Self { n_bytes: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// If it cannot be opened, mapped or watched.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let opened = State::of(&file.metadata()?);
        // SAFETY: a mapping is sound as long as nobody writes to the file, or cuts it, while a slice of it is in use. This is
        // all we assume, and cannot enforce, of the outside: the directory is one that the user chose for packed weights, the
        // files in it are readable and writable by this user alone, and this program never writes to one that has its final
        // name. Only bytes and floats are read from it, so that other values than before are still values: a violation gives
        // wrong numbers, which `check` reports before they are used, and a page that is gone reads as zeros.
        let map = unsafe { Mmap::map(&file) }?;
        #[cfg(unix)]
        let watch = Watch::new(&map)?;
        Ok(Self {
            #[cfg(unix)]
            watch,
            map,
            file,
            path: path.to_owned(),
            opened,
        })
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Checks that the bytes are still those of the file that was opened.
    ///
    /// # Errors
    /// What happened to the file.
    pub(super) fn check(&self) -> Result<(), String> {
        let path = self.path.display();
        let now = self.file.metadata().map_err(|error| format!("cannot look at {path}: {error}"))?;
        let (State { n_bytes: before, .. }, after) = (self.opened, now.len());
        if after < before {
            return Err(format!(
                "{path} was cut from {before} to {after} bytes while its weights were in use"
            ));
        }
        if State::of(&now) != self.opened {
            return Err(format!("{path} was written to while its weights were in use"));
        }
        #[cfg(unix)]
        if self.watch.is_lost() {
            return Err(format!("a part of {path} could not be read while its weights were in use"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn file(scratch: &Scratch) -> PathBuf {
        let path = scratch.path().join("weights");
        std::fs::write(&path, vec![7; 300_000]).unwrap();
        path
    }

    #[test]
    fn a_file_that_is_cut_reads_as_zeros_and_is_reported_with_its_name() {
        let scratch = Scratch::new();
        let path = file(&scratch);
        let [first, second] = [0, 1].map(|_| MappedFile::open(&path).unwrap());
        assert!(first.bytes().iter().all(|byte| *byte == 7));
        first.check().unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        // Several threads come upon the missing pages at once.
        std::thread::scope(|scope| {
            for file in [&first, &first, &second] {
                scope.spawn(|| assert!(file.bytes()[299_000..].iter().all(|byte| *byte == 0)));
            }
        });
        let report = first.check().unwrap_err();
        assert!(report.contains("weights was cut from 300000 to 1000 bytes"), "{report}");
        // Growing it again does not bring the bytes back.
        std::fs::write(&path, vec![7; 300_000]).unwrap();
        assert!(first.check().is_err() && second.check().is_err());
        MappedFile::open(&path).unwrap().check().unwrap();
    }

    #[test]
    fn a_file_that_is_written_to_is_reported_and_one_that_is_renamed_or_removed_is_not() {
        let scratch = Scratch::new();
        let path = file(&scratch);
        let mapped = MappedFile::open(&path).unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        mapped.check().unwrap();
        let written = File::options().write(true).open(&elsewhere).unwrap();
        std::fs::remove_file(&elsewhere).unwrap();
        mapped.check().unwrap();
        written.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let report = mapped.check().unwrap_err();
        assert!(report.contains("was written to"), "{report}");
    }
}
