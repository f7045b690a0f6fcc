//! A file that is written beside its place and then put there, so that nobody sees half of it.
//!
//! Whoever is killed in between leaves such a file behind. It is locked while it is written, so the next process that uses the
//! directory can tell what is left over, and removes it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::files;

/// A file that is being written. Dropping it removes it.
#[derive(Debug)]
pub(super) struct PartialFile {
    file: File,
    path: PathBuf,
    place: PathBuf,
    is_done: bool,
}

impl PartialFile {
    /// A new, locked file for `place`.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(super) fn create(place: &Path) -> io::Result<Self> {
        // One process may load several models into a directory, and containers have the same process numbers.
        static N_FILES: AtomicU32 = AtomicU32::new(0);
        let mut path = OsString::from(place);
        path.push(format!(".{}-{}", std::process::id(), N_FILES.fetch_add(1, Ordering::Relaxed)));
        let file = files::private().write(true).create_new(true).open(&path)?;
        // A file system without locks only keeps what is left over.
        let _ = file.try_lock();
        Ok(Self { file, path: path.into(), place: place.to_owned(), is_done: false })
    }

    /// Puts the file into its place.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub(super) fn finish(mut self) -> io::Result<()> {
        fs::rename(&self.path, &self.place)?;
        self.is_done = true;
        Ok(())
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.is_done {
            // The next process removes it if this fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the partial files of a directory that nobody writes any more, of places whose names end with `suffix`.
pub(super) fn remove_left_over(dir: &Path, suffix: &str) {
    // A directory that cannot be listed keeps them.
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_partial(path, suffix)) {
        let is_left_over = File::options().write(true).open(&path).is_ok_and(|file| file.try_lock().is_ok());
        if is_left_over {
            tracing::info!(path = %path.display(), "removing a file that was never finished");
            // Another process may have been quicker.
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether a name is one that [`PartialFile::create`] gives, or that earlier versions gave, which had no number after the `-`.
fn is_partial(path: &Path, suffix: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let name = path.file_name().and_then(|name| name.to_str());
    let parts = name.and_then(|name| name.rsplit_once('.'));
    parts.is_some_and(|(place, number)| place.ends_with(suffix) && !number.is_empty() && is_number(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn names(scratch: &Scratch) -> Vec<String> {
        let entries = fs::read_dir(scratch.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_left_over_goes_and_what_is_being_written_stays() {
        let scratch = Scratch::new();
        for name in ["a.packed", "a.packed.77", "b.packed.12-3", "notes.packed.txt", "c.packed.", "d.other.5"]
        {
            fs::write(scratch.path().join(name), "x").unwrap();
        }
        let mut partial = PartialFile::create(&scratch.path().join("b.packed")).unwrap();
        partial.write_all(b"whole").unwrap();
        remove_left_over(scratch.path(), ".packed");
        partial.finish().unwrap();
        assert_eq!(names(&scratch), ["a.packed", "b.packed", "c.packed.", "d.other.5", "notes.packed.txt"]);
        assert_eq!(fs::read(scratch.path().join("b.packed")).unwrap(), b"whole");
        drop(PartialFile::create(&scratch.path().join("e.packed")).unwrap());
        assert_eq!(names(&scratch).len(), 5, "dropped before it was finished");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_user_may_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::new();
        let place = scratch.path().join("a.packed");
        PartialFile::create(&place).unwrap().finish().unwrap();
        assert_eq!(fs::metadata(place).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
