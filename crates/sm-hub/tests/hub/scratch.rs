//! A cache for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sm_hub::{CachedModel, Hub, HubError, HubRef, HubSettings};

use crate::stand_in::StandIn;

/// A cache, removed at the end of the test.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    /// Settings for tests: short waits.
    pub(crate) fn settings(&self, stand_in: &StandIn) -> HubSettings {
        let mut settings = HubSettings::new(&self.0, &stand_in.endpoint);
        settings.first_pause = Duration::from_millis(1);
        settings.max_silence = Duration::from_millis(500);
        settings
    }

    pub(crate) fn hub(&self, stand_in: &StandIn) -> Hub {
        Hub::new(self.settings(stand_in))
    }

    /// The folder of the repository `a/b`.
    pub(crate) fn folder(&self) -> PathBuf {
        self.0.join("models--a--b")
    }

    /// Names of the files in a folder of `a/b`, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder().join(folder)).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn name(text: &str) -> HubRef {
    text.parse().unwrap()
}

/// Plans and fetches.
pub(crate) fn pull(hub: &Hub, text: &str) -> Result<CachedModel, HubError> {
    hub.pull(&hub.plan(&name(text))?, &mut |_| ())
}

/// Bytes that no mistake leaves the same.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 37) as u8).collect()
}
