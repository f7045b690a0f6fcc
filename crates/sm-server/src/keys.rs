//! Keys: who may call, how often, how much, and what.

mod bucket;
mod file;
mod key;
mod secret;
mod shared;
mod visitors;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::SystemTime;

pub(crate) use bucket::Left;
pub(crate) use key::Key;
pub use secret::NewKey;
pub use shared::RedisFallback;
pub(crate) use shared::{Limits, SharedLimitsConfig};
pub use visitors::RateLimit;
pub(crate) use visitors::{Visitor, Visitors};

use crate::ServerError;
use file::Rules;
use secret::KeyDigest;

/// Where keys come from.
#[derive(Clone, Default)]
pub(crate) struct KeySources {
    /// Keys that allow everything but administration.
    pub(crate) keys: Vec<String>,
    /// Keys that also allow administration.
    pub(crate) admin_keys: Vec<String>,
    /// A file of hashed keys.
    pub(crate) file: Option<PathBuf>,
}

impl std::fmt::Debug for KeySources {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n_keys, n_admin_keys) = (self.keys.len(), self.admin_keys.len());
        write!(f, "KeySources {{ {n_keys} keys, {n_admin_keys} of administrators, file: {:?} }}", self.file)
    }
}

/// All keys that are valid now.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Those that were given one by one.
    given: Vec<(KeyDigest, Rules)>,
    file: Option<PathBuf>,
    limits: Limits,
    valid: RwLock<Valid>,
}

#[derive(Debug, Default)]
struct Valid {
    keys: Vec<Arc<Key>>,
    version: Option<FileVersion>,
}

/// What tells that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileVersion {
    modified: Option<SystemTime>,
    n_bytes: u64,
}

impl Keys {
    /// The keys of all sources.
    ///
    /// # Errors
    /// [`ServerError::Keys`] if the file cannot be used.
    pub(crate) fn new(sources: KeySources, limits: Limits) -> Result<Self, ServerError> {
        let KeySources { keys, admin_keys, file } = sources;
        let given = |keys: Vec<String>, name: &str, admin: bool| {
            let rules =
                move |number: usize| Rules { name: format!("{name}-{number}"), admin, ..Rules::default() };
            let digest = |key: String| KeyDigest::of(&key);
            (1..).zip(keys).map(move |(number, key)| (digest(key), rules(number))).collect::<Vec<_>>()
        };
        // The first that matches counts, so that a key given twice keeps its rights.
        let given = [given(admin_keys, "admin-key", true), given(keys, "api-key", false)].concat();
        let keys = Self { given, file, limits, valid: RwLock::default() };
        keys.reload()?;
        Ok(keys)
    }

    /// Whether callers need a key. A file without keys lets nobody in.
    pub(crate) fn are_required(&self) -> bool {
        self.file.is_some() || self.given.iter().any(|(_, rules)| !rules.admin)
    }

    /// Whether keys may change while the server runs.
    pub(crate) fn have_file(&self) -> bool {
        self.file.is_some()
    }

    /// The key that was presented, if it is valid. All are compared, whichever it is.
    pub(crate) fn find(&self, presented: &str) -> Option<Arc<Key>> {
        let digest = KeyDigest::of(presented);
        let valid = self.valid.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for key in &valid.keys {
            if key.digest.matches(&digest) && found.is_none() {
                found = Some(Arc::clone(key));
            }
        }
        found
    }

    /// Reads the file again. A key whose rules are the same keeps its account. If the file is wrong, all keys stay as they are.
    ///
    /// # Errors
    /// [`ServerError::Keys`].
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        let (version, from_file) = match &self.file {
            Some(path) => {
                // Before the contents, so that a change in between is noticed later.
                let version = version(path).ok();
                let keys = read(path).inspect_err(|_| self.write().version = version)?;
                (version, keys)
            }
            None => (None, Vec::new()),
        };
        let mut valid = self.write();
        let before = std::mem::take(&mut valid.keys);
        let account = |(digest, rules): (KeyDigest, Rules)| {
            let same = before.iter().find(|key| key.digest.matches(&digest) && key.rules == rules);
            same.cloned().unwrap_or_else(|| Arc::new(Key::new(digest, rules, self.limits.clone())))
        };
        valid.keys = self.given.iter().cloned().chain(from_file).map(account).collect();
        valid.version = version;
        Ok(())
    }

    /// Whether the file has changed since it was last read, or read in vain.
    pub(crate) fn has_file_changed(&self) -> bool {
        let read = self.valid.read().unwrap_or_else(PoisonError::into_inner).version;
        self.file.as_deref().is_some_and(|path| version(path).ok() != read)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Valid> {
        self.valid.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(path: &Path) -> Result<FileVersion, std::io::Error> {
    let metadata = std::fs::metadata(path)?;
    Ok(FileVersion { modified: metadata.modified().ok(), n_bytes: metadata.len() })
}

fn read(path: &Path) -> Result<Vec<(KeyDigest, Rules)>, ServerError> {
    let failed = |message: String| ServerError::Keys { path: path.to_owned(), message };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    file::parse(&text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(keys: &[&str], admin_keys: &[&str]) -> KeySources {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        KeySources { keys: owned(keys), admin_keys: owned(admin_keys), file: None }
    }

    #[test]
    fn keys_are_required_once_there_are_any_that_are_not_for_administrators_only() {
        assert!(!Keys::new(sources(&[], &[]), Limits::default()).unwrap().are_required());
        assert!(!Keys::new(sources(&[], &["root"]), Limits::default()).unwrap().are_required());
        let keys = Keys::new(sources(&["a", "b"], &["root"]), Limits::default()).unwrap();
        assert!(keys.are_required());
        assert_eq!(keys.find("b").unwrap().name(), "api-key-2");
        assert!(keys.find("root").unwrap().is_admin() && keys.find("c").is_none());
        assert!(!format!("{:?}", sources(&["secret"], &[])).contains("secret"));
    }

    #[tokio::test]
    async fn a_file_is_read_again_and_accounts_survive() {
        let path = std::env::temp_dir().join(format!("sm-keys-{}.toml", std::process::id()));
        let entry = |key: &str, rest: &str| {
            let hash = KeyDigest::of(key).to_text();
            format!("[[key]]\nname = \"{key}\"\nhash = \"{hash}\"\n{rest}\n")
        };
        std::fs::write(&path, entry("a", "requests_per_minute = 1")).unwrap();
        let sources = KeySources { file: Some(path.clone()), ..KeySources::default() };
        let keys = Keys::new(sources, Limits::default()).unwrap();
        assert!(!keys.has_file_changed());
        keys.find("a").unwrap().take_request().await.unwrap();
        std::fs::write(&path, entry("a", "requests_per_minute = 1") + &entry("b", "")).unwrap();
        assert!(keys.has_file_changed());
        keys.reload().unwrap();
        keys.find("a").unwrap().take_request().await.unwrap_err();
        keys.find("b").unwrap().take_request().await.unwrap();
        std::fs::write(&path, "[[key").unwrap();
        let error = keys.reload().unwrap_err().to_string();
        assert!(error.contains("sm-keys") && keys.find("b").is_some(), "{error}");
        std::fs::write(&path, entry("b", "")).unwrap();
        keys.reload().unwrap();
        assert!(keys.find("a").is_none());
        std::fs::write(&path, "").unwrap();
        keys.reload().unwrap();
        assert!(keys.are_required() && keys.find("b").is_none());
        std::fs::remove_file(&path).unwrap();
    }
}
