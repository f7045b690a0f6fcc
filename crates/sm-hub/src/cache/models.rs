//! The models in the cache, by the names that find them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::local::{Found, MAIN};
use super::{Cache, Folder, size};
use crate::error::HubError;
use crate::reference::{HubRef, Wanted};
use crate::selection::quant;

/// A model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedModel {
    /// The shortest name that finds it: `ORGANIZATION/NAME[:QUANT|:FILE][@COMMIT]`.
    pub name: HubRef,
    /// The commit that it is of.
    pub commit: String,
    /// What a program opens: a GGUF file, or the folder of a safetensors model.
    pub path: PathBuf,
    /// The sizes of its files together.
    pub size_bytes: u64,
    /// When the last of its files was fetched, if the system knows.
    pub modified: Option<SystemTime>,
}

/// What lies in the cache.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CacheContents {
    /// Whole models, by name.
    pub models: Vec<CachedModel>,
    /// Repositories with files that were begun and not ended, and the bytes that these take.
    pub incomplete: Vec<(String, u64)>,
}

impl Cache {
    /// Lists what is in the cache. What is no model, such as a data set, is left out.
    pub(crate) fn contents(&self) -> Result<CacheContents, HubError> {
        let mut contents = CacheContents::default();
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(contents),
            Err(error) => return Err(HubError::io("read", &self.root)(error)),
        };
        let mut repos: Vec<String> = entries.flatten().filter_map(|entry| repo_of(&entry.path())).collect();
        repos.sort();
        for repo in repos {
            let folder = self.folder(&repo);
            self.add_models(&repo, &folder, &mut contents.models);
            let bytes = incomplete_bytes(&folder);
            if bytes > 0 {
                contents.incomplete.push((repo, bytes));
            }
        }
        Ok(contents)
    }

    fn add_models(&self, repo: &str, folder: &Folder, models: &mut Vec<CachedModel>) {
        let mut seen = BTreeSet::new();
        let main = folder.commit(MAIN);
        let others: Vec<String> = folder.commits().into_iter().filter(|c| Some(c) != main.as_ref()).collect();
        for commit in main.into_iter().chain(others) {
            let paths = folder.paths(&commit);
            let files = paths.iter().map(|path| Wanted::File(path.clone()));
            for wanted in std::iter::once(Wanted::Default).chain(files) {
                let Ok(found) = folder.find(&commit, &HubRef::new(repo, wanted.clone(), Some(&commit)))
                else {
                    continue;
                };
                if (found.path.is_dir() || wanted != Wanted::Default) && seen.insert(found.path.clone()) {
                    let name = self.shortest_name(repo, &found, &wanted);
                    models.push(CachedModel::new(name, found));
                }
            }
        }
    }

    /// The shortest name that leads to this model and no other.
    fn shortest_name(&self, repo: &str, found: &Found, wanted: &Wanted) -> HubRef {
        let quant = match wanted {
            Wanted::File(file) => quant(file).map(Wanted::Quant),
            _ => None,
        };
        let candidates =
            [(quant.as_ref(), None), (Some(wanted), None), (quant.as_ref(), Some(found.commit.as_str()))];
        let names = candidates
            .into_iter()
            .filter_map(|(wanted, revision)| Some(HubRef::new(repo, wanted?.clone(), revision)));
        let mut leading_here =
            names.filter(|name| self.find(name).is_ok_and(|other| other.path == found.path));
        leading_here.next().unwrap_or_else(|| HubRef::new(repo, wanted.clone(), Some(&found.commit)))
    }
}

impl CachedModel {
    pub(crate) fn new(name: HubRef, found: Found) -> Self {
        let size_bytes = found.files.iter().filter_map(|file| size(file)).sum();
        let changed = |file: &PathBuf| fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
        let modified = found.files.iter().filter_map(changed).max();
        Self { name, commit: found.commit, path: found.path, size_bytes, modified }
    }
}

/// The repository whose folder this is.
fn repo_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_prefix("models--")?;
    let repo = name.replacen("--", "/", 1);
    let is_repo =
        path.is_dir() && repo.parse::<HubRef>().is_ok_and(|parsed| parsed.wanted == Wanted::Default);
    is_repo.then_some(repo)
}

fn incomplete_bytes(folder: &Folder) -> u64 {
    let entries = fs::read_dir(folder.blobs()).into_iter().flatten().flatten();
    let incomplete = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "incomplete"));
    incomplete.filter_map(|entry| size(&entry.path())).sum()
}
