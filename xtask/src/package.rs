//! `cargo xtask package`: packages and builds what would be published, without publishing.

use crate::Outcome;
use crate::spawn::{self, cargo, root, target};

/// Text files included in each package. Licences are symlinks to the root's; cargo packages the files.
const TEXTS: [&str; 3] = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Packages every crate that is not `publish = false`, and builds it from the package.
pub(crate) fn run() -> Outcome {
    let folder = root().join("crates");
    let crates = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in crates.filter_map(|entry| Some(entry.ok()?.path())) {
        if let Some(text) = TEXTS.iter().find(|text| !path.join(text).exists()) {
            return Err(format!("{} has no {text}", path.display()));
        }
    }
    let args = ["publish", "--workspace", "--dry-run", "--locked", "--allow-dirty"];
    // Cargo takes a version of a package for unchangeable: in the folder of an earlier run it would build crates with their
    // dependencies as they were then.
    let folder = target().join(format!("package-{}", std::process::id()));
    let result = spawn::run("package", cargo(&args).env("CARGO_TARGET_DIR", &folder));
    // A failure only wastes disk space.
    let _ = std::fs::remove_dir_all(folder);
    result
}
