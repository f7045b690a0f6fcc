//! A folder that stands for a model, for readers that want paths.

use std::path::{Path, PathBuf};

/// A folder of this process, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty folder for what is called `name`.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sm-mutate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    /// A folder with these files in it.
    pub(crate) fn with(name: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = Self::new(name);
        for (file, bytes) in files {
            std::fs::write(folder.path().join(file), bytes).expect("a file in the temporary folder");
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
