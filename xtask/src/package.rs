//! `cargo xtask package`: packages and builds what would be published, without publishing.

use crate::Outcome;
use crate::spawn::{self, cargo, root};

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
    spawn::run("package", &mut cargo(&args))
}
