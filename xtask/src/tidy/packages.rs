//! Every crate is publishable: its manifest is complete, and its README matches its documentation.

use super::{Finding, SourceFile};
use crate::readme;

/// Required manifest keys, as line prefixes.
const KEYS: [&str; 7] = [
    "description = ",
    "keywords = ",
    "categories = ",
    "license.workspace",
    "repository.workspace",
    "include",
    "[package.metadata.docs.rs]",
];

/// Checks each crate under `crates/`.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let find = |path: String| files.iter().find(|file| file.path == path);
    for manifest in files {
        let name = manifest.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml"));
        let Some(name) = name else { continue };
        let root = ["lib", "main"].into_iter().find_map(|root| find(format!("crates/{name}/src/{root}.rs")));
        let Some(root) = root else { continue };
        check_manifest(manifest, findings);
        let Some(expected) = readme::from_source(name, &root.text) else { continue };
        let path = format!("crates/{name}/README.md");
        if find(path.clone()).is_none_or(|readme| readme.text != expected) {
            let what = format!("differs from the documentation in {}: run cargo xtask readme", root.path);
            findings.push(Finding { path, line: 0, what });
        }
    }
}

fn check_manifest(manifest: &SourceFile, findings: &mut Vec<Finding>) {
    for key in KEYS {
        if !manifest.lines().any(|(_, line)| line.starts_with(key)) {
            findings.push(
                manifest.finding(0, format!("a published crate needs `{}`", key.trim_end_matches(" = "))),
            );
        }
    }
    for (number, line) in manifest.lines().filter(|(_, line)| line.starts_with("publish")) {
        findings.push(
            manifest.finding(number, format!("`{line}`, but crates/ is for crates that are published")),
        );
    }
}
