//! Finding a model without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Cache, Folder, size};
use crate::error::HubError;
use crate::names::{is_commit, is_path};
use crate::reference::HubRef;
use crate::selection::{Entry, INDEX, Selection, select};

/// The branch that is meant if none is named.
pub(crate) const MAIN: &str = "main";
/// Folders in snapshots are not followed further than this.
const MAX_DEPTH: usize = 8;

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) commit: String,
    /// What a program opens.
    pub(crate) path: PathBuf,
    /// All its files, in the snapshot.
    pub(crate) files: Vec<PathBuf>,
}

impl Cache {
    /// Finds a whole model. Without a revision it may be of any commit: the branch may have moved on since this
    /// quantization was fetched. The commit that `main` points to comes first, then those that were fetched last.
    pub(crate) fn find(&self, model: &HubRef) -> Result<Found, HubError> {
        let folder = self.folder(model.repo());
        let named = folder.commit(model.revision().unwrap_or(MAIN));
        let others = if model.revision().is_none() { folder.commits() } else { Vec::new() };
        let others: Vec<String> =
            others.into_iter().filter(|commit| Some(commit) != named.as_ref()).collect();
        let mut first_error = None;
        for commit in named.into_iter().chain(others) {
            match folder.find(&commit, model) {
                Ok(found) => return Ok(found),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let missing = match first_error {
            Some(HubError::NotCached { missing, .. }) => missing,
            _ => None,
        };
        Err(HubError::NotCached { model: model.to_string(), cache: self.root.clone(), missing })
    }
}

impl Folder {
    /// The commits of which there are files, those fetched last first.
    pub(crate) fn commits(&self) -> Vec<String> {
        let entries = fs::read_dir(self.snapshots()).into_iter().flatten().flatten();
        let mut commits: Vec<(SystemTime, String)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok().filter(|name| is_commit(name))?;
                let changed = entry.metadata().and_then(|metadata| metadata.modified());
                Some((changed.unwrap_or(SystemTime::UNIX_EPOCH), name))
            })
            .collect();
        commits.sort_by(|a, b| b.cmp(a));
        commits.into_iter().map(|(_, commit)| commit).collect()
    }

    /// The paths of the whole files of a commit, with `/`, sorted.
    pub(crate) fn paths(&self, commit: &str) -> Vec<String> {
        let mut paths = Vec::new();
        collect(&self.snapshot(commit), "", 0, &mut paths);
        paths.sort();
        paths
    }

    /// Finds a model in one commit.
    pub(crate) fn find(&self, commit: &str, model: &HubRef) -> Result<Found, HubError> {
        let paths = self.paths(commit);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let mut selection = select(model.repo(), &paths, &model.wanted)?;
        if selection.has_index() {
            let path = self.pointer(commit, INDEX);
            let index = fs::read(&path).map_err(HubError::io("read", &path))?;
            selection.add_shards(model.repo(), &paths, &index)?;
        }
        Ok(self.found(commit, &selection))
    }

    pub(crate) fn found(&self, commit: &str, selection: &Selection) -> Found {
        let path = match &selection.entry {
            Entry::File(file) => self.pointer(commit, file),
            Entry::Folder => self.snapshot(commit),
        };
        let files = selection.files.iter().map(|file| self.pointer(commit, file)).collect();
        Found { commit: commit.to_owned(), path, files }
    }
}

fn collect(folder: &Path, prefix: &str, depth: usize, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth < MAX_DEPTH {
                collect(&entry.path(), &format!("{path}/"), depth + 1, paths);
            }
        } else if is_path(&path) && size(&entry.path()).is_some() {
            paths.push(path);
        }
    }
}
