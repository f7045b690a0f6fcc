//! Removing models, and no byte that another one needs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Cache, Folder, size};
use crate::error::HubError;
use crate::reference::{HubRef, Wanted};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Bytes that are free now.
    pub freed_bytes: u64,
}

impl Cache {
    /// Removes a model: the files of one quantization, a commit, or the repository with all there is.
    pub(crate) fn remove(&self, model: &HubRef) -> Result<Removed, HubError> {
        let folder = self.folder(model.repo());
        let not_cached =
            || HubError::NotCached { model: model.to_string(), cache: self.root.clone(), missing: None };
        if !folder.path.is_dir() {
            return Err(not_cached());
        }
        let before = bytes_of(&folder.path);
        match (&model.wanted, model.revision()) {
            (Wanted::Default, None) => folder.remove_all()?,
            (Wanted::Default, Some(revision)) => {
                let commit = folder.commit(revision).filter(|commit| folder.snapshot(commit).is_dir());
                let snapshot = folder.snapshot(&commit.ok_or_else(not_cached)?);
                fs::remove_dir_all(&snapshot).map_err(HubError::io("remove", &snapshot))?;
                folder.tidy()?;
            }
            (_, revision) => {
                let commits = match revision {
                    Some(revision) => folder.commit(revision).into_iter().collect(),
                    None => folder.commits(),
                };
                let found = commits.iter().filter_map(|commit| folder.find(commit, model).ok());
                let files: Vec<PathBuf> = found.flat_map(|found| found.files).collect();
                if files.is_empty() {
                    return Err(not_cached());
                }
                for file in files {
                    fs::remove_file(&file).map_err(HubError::io("remove", &file))?;
                }
                folder.tidy()?;
            }
        }
        Ok(Removed { freed_bytes: before.saturating_sub(bytes_of(&folder.path)) })
    }
}

impl Folder {
    fn remove_all(&self) -> Result<(), HubError> {
        fs::remove_dir_all(&self.path).map_err(HubError::io("remove", &self.path))?;
        match fs::remove_dir_all(&self.locks) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HubError::io("remove", &self.locks)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes empty folders, commits without files, revisions of such, and blobs that nothing points to.
    fn tidy(&self) -> Result<(), HubError> {
        for commit in self.commits() {
            remove_empty(&self.snapshot(&commit));
        }
        let commits = self.commits();
        let mut paths = commits.iter().flat_map(|commit| {
            self.paths(commit).into_iter().map(|path| self.pointer(commit, &path)).collect::<Vec<_>>()
        });
        // Small files alone, such as a README, are no reason to keep a repository that Python began; models are.
        if commits.is_empty() {
            return self.remove_all();
        }
        let needed: BTreeSet<PathBuf> =
            paths.by_ref().filter_map(|path| fs::canonicalize(path).ok()).collect();
        for entry in fs::read_dir(self.blobs()).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_incomplete = path.extension().is_some_and(|extension| extension == "incomplete");
            if !is_incomplete && !fs::canonicalize(&path).is_ok_and(|path| needed.contains(&path)) {
                fs::remove_file(&path).map_err(HubError::io("remove", &path))?;
            }
        }
        remove_dangling_references(&self.path.join("refs"), &commits);
        Ok(())
    }
}

/// Removes a folder if there is nothing in it but such folders.
fn remove_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    // Fails if something is in it.
    let _ = fs::remove_dir(folder);
}

fn remove_dangling_references(folder: &Path, commits: &[String]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_dangling_references(&path, commits);
        } else if fs::read_to_string(&path).is_ok_and(|commit| !commits.iter().any(|c| c == commit.trim())) {
            // A reference that stays only means that nothing is found there.
            let _ = fs::remove_file(path);
        }
    }
}

/// The bytes of all files below a folder; links count nothing.
fn bytes_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_of(&entry.path()),
            Ok(kind) if kind.is_file() => size(&entry.path()).unwrap_or(0),
            _ => 0,
        })
        .sum()
}
