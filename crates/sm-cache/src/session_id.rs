//! Session names.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A session name: any non-blank text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

/// The error for a blank session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session id must not be blank")]
pub struct BlankSessionId;

impl SessionId {
    /// A session id with this name.
    ///
    /// # Errors
    /// If the name is blank.
    pub fn new(name: &str) -> Result<Self, BlankSessionId> {
        if name.trim().is_empty() { Err(BlankSessionId) } else { Ok(Self(name.into())) }
    }

    /// A new random name, unique within and across processes.
    ///
    /// ```
    /// use sm_cache::SessionId;
    ///
    /// assert_ne!(SessionId::new_id(), SessionId::new_id());
    /// ```
    pub fn new_id() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let process = PROCESS.get_or_init(|| RandomState::new().build_hasher().finish());
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(format!("{process:016x}-{count}").into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = BlankSessionId;

    fn from_str(name: &str) -> Result<Self, BlankSessionId> {
        Self::new(name)
    }
}

impl TryFrom<&str> for SessionId {
    type Error = BlankSessionId;

    fn try_from(name: &str) -> Result<Self, BlankSessionId> {
        Self::new(name)
    }
}

impl TryFrom<String> for SessionId {
    type Error = BlankSessionId;

    fn try_from(name: String) -> Result<Self, BlankSessionId> {
        Self::new(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_names_are_rejected() {
        for name in ["", " ", "\t\n"] {
            assert_eq!(SessionId::new(name), Err(BlankSessionId));
            assert!(name.parse::<SessionId>().is_err());
        }
        assert_eq!(SessionId::try_from("a b").unwrap().to_string(), "a b");
        assert_eq!(SessionId::try_from(String::from("ü")).unwrap().as_str(), "ü");
    }

    #[test]
    fn new_ids_are_unique() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| SessionId::new_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
