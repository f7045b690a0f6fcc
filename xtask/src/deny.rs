//! `cargo xtask deny`: runs `cargo deny` if it is installed, and finds duplicate versions and banned crates without it.

use std::collections::{BTreeMap, BTreeSet};

use crate::Outcome;
use crate::spawn::{self, cargo, output, root, succeeds};

/// Checks the dependency tree against `deny.toml`.
pub(crate) fn run() -> Outcome {
    duplicates()?;
    banned()?;
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

/// Fails if a crate that `deny.toml` bans is linked, or compiles a part of what is.
fn banned() -> Outcome {
    let args = ["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--locked"];
    let tree = output(&mut cargo(&args))?;
    let deny = std::fs::read_to_string(root().join("deny.toml")).map_err(|e| format!("deny.toml: {e}"))?;
    match banned_in(&tree, &deny) {
        found if found.is_empty() => {
            println!("== banned dependencies: none");
            Ok(())
        }
        found => Err(format!(
            "banned by deny.toml: {}; cargo tree -i shows who needs it",
            found.into_iter().collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Crates in `tree` that the list `deny` of `deny.toml` has.
fn banned_in<'t>(tree: &'t str, deny: &str) -> BTreeSet<&'t str> {
    let list = deny.lines().skip_while(|line| !line.starts_with("deny = [")).take_while(|line| *line != "]");
    let banned: BTreeSet<&str> = list.filter_map(|line| line.split('"').nth(1)).collect();
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| banned.contains(name)).collect()
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

    #[test]
    fn finds_banned_crates_and_no_others() {
        let deny = "skip = [\n  { crate = \"a@1\" },\n]\ndeny = [\n  { crate = \"b\" },\n  # Why.\n  { crate = \"cc\", wrappers = [\"d\"] },\n]\n";
        let tree = "a v1.0.0\ncc v1.2.3 (*)\nd v1.0.0\nccc v1.0.0\n";
        assert_eq!(banned_in(tree, deny).into_iter().collect::<Vec<_>>(), ["cc"]);
    }
}
