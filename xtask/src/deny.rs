//! `cargo xtask deny`: runs `cargo deny` if it is installed, and finds duplicate versions without it.

use std::collections::{BTreeMap, BTreeSet};

use crate::Outcome;
use crate::spawn::{self, cargo, output, root, succeeds};

/// Checks the dependency tree against `deny.toml`.
pub(crate) fn run() -> Outcome {
    duplicates()?;
    if succeeds(&mut cargo(&["deny", "--version"])) {
        return spawn::run("deny", &mut cargo(&["deny", "--all-features", "check"]));
    }
    println!("skipped: licences and advisories (cargo install cargo-deny)");
    Ok(())
}

/// Fails if a crate is linked in two incompatible versions without a reason in `deny.toml`.
fn duplicates() -> Outcome {
    let args = ["tree", "--workspace", "--edges", "normal", "--prefix", "none", "--locked"];
    let tree = output(&mut cargo(&args))?;
    let deny = std::fs::read_to_string(root().join("deny.toml")).map_err(|e| format!("deny.toml: {e}"))?;
    let unexplained = unexplained(&tree, &deny);
    if unexplained.is_empty() {
        println!("== duplicate dependencies: none without a reason");
        return Ok(());
    }
    Err(format!(
        "linked in two versions without a reason in bans.skip of deny.toml: {}",
        unexplained.join(", ")
    ))
}

/// Crates with several incompatible versions in `tree`, from `cargo tree --prefix none`, that `deny` does not explain.
fn unexplained(tree: &str, deny: &str) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next().and_then(|v| v.strip_prefix('v'))) {
            versions.entry(name).or_default().insert(compatible_range(version));
        }
    }
    let is_explained =
        |name: &str| deny.lines().any(|l| l.contains(&format!("\"{name}@")) && l.contains("reason = "));
    versions
        .into_iter()
        .filter(|(name, ranges)| ranges.len() > 1 && !is_explained(name))
        .map(|(name, ranges)| format!("{name} ({})", ranges.into_iter().collect::<Vec<_>>().join(" and ")))
        .collect()
}

/// The part of a version that cargo unifies by: `1` of `1.4.2`, `0.8` of `0.8.1`.
fn compatible_range(version: &str) -> String {
    let parts: Vec<&str> = version.split('.').collect();
    let n_significant = parts.iter().position(|p| *p != "0").map_or(parts.len(), |i| i + 1);
    parts[..n_significant].join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_versions_that_do_not_unify() {
        let tree = "a v1.2.0\nb v0.8.1\na v1.3.0 (*)\nb v0.9.0\nc v0.0.1\nc v0.0.2\n";
        assert_eq!(unexplained(tree, ""), ["b (0.8 and 0.9)", "c (0.0.1 and 0.0.2)"]);
    }

    #[test]
    fn a_reason_in_deny_toml_excuses_a_duplicate() {
        let tree = "b v0.8.1\nb v0.9.0\n";
        assert!(unexplained(tree, "  { crate = \"b@0.8\", reason = \"x wants it\" },").is_empty());
        assert_eq!(unexplained(tree, "  { crate = \"b@0.8\" },").len(), 1);
    }
}
