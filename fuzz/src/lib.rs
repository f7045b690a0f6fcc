//! A folder that stands for a model, for readers that want paths.

use std::path::{Path, PathBuf};

use sm_model::{LoadOptions, load_model};

/// A folder of this process, with files that are written anew for each input.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A folder with the given files in it.
    ///
    /// # Panics
    /// If the system refuses the folder or a file.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let path = std::env::temp_dir().join(format!("sm-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        for (name, bytes) in files {
            std::fs::write(path.join(name), bytes).expect("a file in the temporary folder");
        }
        Self { path }
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Loads what is at `path` and reads every tensor; any outcome but a panic or an endless run is right.
pub fn load_and_read(path: &Path) {
    let Ok(model) = load_model(path, &LoadOptions { context_len: Some(64), quant: None }) else { return };
    for tensor in model.weights.tensors() {
        let bytes = model.weights.tensor_bytes(&tensor.name).expect("a listed tensor has bytes");
        assert_eq!(bytes.len(), tensor.bytes.len(), "{}", tensor.name);
    }
    assert!(!model.plan.to_string().is_empty());
}
