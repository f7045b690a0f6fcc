//! The cache that Python's `huggingface_hub` uses, so that each model is on the disk once.
//!
//! ```text
//! models--ORGANIZATION--NAME/
//!   refs/main                      the commit that the branch pointed to when it was last fetched
//!   blobs/HASH                     contents, by SHA-256 (large files) or git's hash
//!   blobs/HASH.incomplete          what was received so far
//!   snapshots/COMMIT/config.json   a relative link to a blob; the file itself where links are impossible
//! .locks/models--ORGANIZATION--NAME/HASH.lock
//! ```
//!
//! A file appears under its name in `snapshots` once it is whole and has the right checksum, never before.

pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod models;
pub(crate) mod removal;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::digest::Checksum;
use crate::error::HubError;
use crate::names::is_commit;

/// Tells backup programs to leave a folder out (<https://bford.info/cachedir/>).
const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# This folder holds models that can be fetched again.\n";

/// The folder of all repositories.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) root: PathBuf,
    /// Whether snapshots hold links.
    pub(crate) links: bool,
}

/// The folder of one repository.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) locks: PathBuf,
}

impl Cache {
    /// The folder of a repository, whose name is a valid one.
    pub(crate) fn folder(&self, repo: &str) -> Folder {
        let name = format!("models--{}", repo.replace('/', "--"));
        Folder { path: self.root.join(&name), locks: self.root.join(".locks").join(&name) }
    }

    /// Makes the folders of a repository.
    pub(crate) fn prepare(&self, folder: &Folder) -> Result<(), HubError> {
        for path in [&folder.blobs(), &folder.locks] {
            fs::create_dir_all(path).map_err(HubError::io("create", path))?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            // It only saves backups some space.
            let _ = fs::write(tag, TAG);
        }
        Ok(())
    }

    /// Makes `pointer` stand for a blob that is whole. Without links it becomes the blob itself.
    pub(crate) fn point(&self, pointer: &Path, blob: &Path) -> Result<(), HubError> {
        let parent = pointer.parent().unwrap_or(pointer);
        fs::create_dir_all(parent).map_err(HubError::io("create", parent))?;
        // A link to a blob that was removed, or an earlier copy.
        match fs::remove_file(pointer) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(HubError::io("replace", pointer)(error));
            }
            _ => {}
        }
        if self.links
            && let Some(target) = relative(parent, blob)
        {
            match symlink(&target, pointer) {
                Ok(()) => return Ok(()),
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                // Windows allows links only to developers, and some file systems have none.
                Err(_) => {}
            }
        }
        fs::rename(blob, pointer).map_err(HubError::io("write", pointer))
    }
}

impl Folder {
    pub(crate) fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    pub(crate) fn blob(&self, checksum: &Checksum) -> PathBuf {
        self.blobs().join(checksum.hex())
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.snapshots().join(commit)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.path.join("refs").join(revision)
    }

    /// The commit that a revision meant when it was last fetched.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = fs::read_to_string(self.reference(revision)).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Notes what a revision means.
    pub(crate) fn set_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference(revision);
        let parent = path.parent().unwrap_or(&path);
        fs::create_dir_all(parent).map_err(HubError::io("create", parent))?;
        // Nobody reads half a commit.
        let new = path.with_file_name(format!("{commit}.{}.tmp", std::process::id()));
        let written = fs::write(&new, commit).and_then(|()| fs::rename(&new, &path));
        written.map_err(HubError::io("write", &path))
    }

    /// Where a file of a commit is. `path` is a valid one.
    pub(crate) fn pointer(&self, commit: &str, path: &str) -> PathBuf {
        path.split('/').fold(self.snapshot(commit), |folder, name| folder.join(name))
    }
}

/// The size of a file, through links.
pub(crate) fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// The way from the folder `from` to `to`, both below the same root.
fn relative(from: &Path, to: &Path) -> Option<PathBuf> {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let n_shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    if n_shared == 0 || from[n_shared..].contains(&Component::ParentDir) {
        return None;
    }
    let up = from[n_shared..].iter().map(|_| Component::ParentDir);
    Some(up.chain(to[n_shared..].iter().copied()).collect())
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_so_that_the_cache_can_move() {
        let way = relative(Path::new("/c/m/snapshots/x/sub"), Path::new("/c/m/blobs/b"));
        assert_eq!(way, Some(PathBuf::from("../../../blobs/b")));
    }
}
