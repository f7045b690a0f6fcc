//! Each crate has a README that matches its documentation.

use super::{Finding, SourceFile};
use crate::readme;

/// Checks each crate under `crates/`.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let find = |path: String| files.iter().find(|file| file.path == path);
    for file in files {
        let manifest = file.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"));
        let Some(name) = manifest else { continue };
        let source =
            ["lib", "main"].into_iter().find_map(|root| find(format!("crates/{name}/src/{root}.rs")));
        let Some(source) = source else { continue };
        let Some(expected) = readme::from_source(name, &source.text) else { continue };
        let path = format!("crates/{name}/README.md");
        if find(path.clone()).is_none_or(|readme| readme.text != expected) {
            let what = format!("differs from the documentation in {}: run cargo xtask readme", source.path);
            findings.push(Finding { path, line: 0, what });
        }
    }
}
