//! `cargo xtask deny`: checks dependencies against `deny.toml`, with `cargo deny` if it is installed. Without it, duplicate
//! versions, banned crates and licences are checked by what cargo itself knows; only advisories are not.

use std::collections::{BTreeMap, BTreeSet};

use spdx::{Expression, LicenseReq, ParseMode};

use crate::Outcome;
use crate::spawn::{self, cargo, output, root, succeeds};

/// Checks the dependency tree against `deny.toml`.
pub(crate) fn run() -> Outcome {
    let deny = std::fs::read_to_string(root().join("deny.toml")).map_err(|e| format!("deny.toml: {e}"))?;
    duplicates(&deny)?;
    banned_and_licences(&deny)?;
    if succeeds(&mut cargo(&["deny", "--version"])) {
        return spawn::run("deny", &mut cargo(&["deny", "--all-features", "check"]));
    }
    println!("skipped: advisories (cargo install cargo-deny)");
    Ok(())
}

/// Fails if a crate is banned, or has no licence that `deny.toml` allows.
fn banned_and_licences(deny: &str) -> Outcome {
    let args =
        ["tree", "--workspace", "--edges", "normal,build", "--all-features", "--prefix", "none", "--locked"];
    let tree = output(cargo(&args).args(["--format", "{p}|{l}"]))?;
    let (banned, allowed) = (banned_crates(deny), allowed_licences(deny));
    if banned.is_empty() || allowed.is_empty() {
        return Err("deny.toml: no deny or allow list was found".to_owned());
    }
    let refused: BTreeSet<String> =
        tree.lines().filter_map(|line| refusal(line, &banned, &allowed).err()).collect();
    if refused.is_empty() {
        println!("== licences: all allowed; no banned crate");
        return Ok(());
    }
    Err(refused.into_iter().collect::<Vec<_>>().join("; "))
}

/// The crates of `bans.deny`, with or without packages that may bring them along: those are none that the program depends on.
fn banned_crates(deny: &str) -> Vec<&str> {
    let list = deny.split_once("\ndeny = [").and_then(|(_, rest)| rest.split_once("\n]"));
    let entries = list.map_or("", |(list, _)| list).lines();
    entries.filter_map(|entry| entry.split_once("crate = \"")?.1.split('"').next()).collect()
}

/// The names of `licenses.allow`.
fn allowed_licences(deny: &str) -> Vec<&str> {
    let list = deny.split_once("\nallow = [").and_then(|(_, rest)| rest.split_once(']'));
    list.map_or("", |(list, _)| list).split('"').skip(1).step_by(2).collect()
}

/// Checks a line `name version (path)|licence` of `cargo tree`.
fn refusal(line: &str, banned: &[&str], allowed: &[&str]) -> Outcome {
    let Some((package, licence)) = line.trim_end_matches(" (*)").rsplit_once('|') else {
        return Ok(());
    };
    let name = package.split_whitespace().next().unwrap_or_default();
    if banned.contains(&name) {
        return Err(format!("{name} is banned by deny.toml"));
    }
    // Members of the workspace, some of which are not published, have the licence of the repository.
    if package.contains(" (/") || package.contains(" (file:") || package.is_empty() {
        return Ok(());
    }
    let is_allowed = |licence: &LicenseReq| licence.license.id().is_some_and(|id| allowed.contains(&id.name));
    match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) if expression.evaluate(is_allowed) => Ok(()),
        Ok(_) => Err(format!("{package}: {licence} is not allowed by deny.toml")),
        Err(error) => Err(format!("{package}: {licence:?} is no licence expression: {}", error.reason)),
    }
}

/// Fails if a crate is linked in two incompatible versions without a reason in `deny.toml`.
fn duplicates(deny: &str) -> Outcome {
    let args = ["tree", "--workspace", "--edges", "normal", "--prefix", "none", "--locked"];
    let tree = output(&mut cargo(&args))?;
    let unexplained = unexplained(&tree, deny);
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

    #[test]
    fn banned_crates_and_licences_that_are_not_allowed_are_refused() {
        let deny = "[licenses]\nallow = [\"MIT\", \"Zlib\"]\n[bans]\nskip = [\n  { crate = \"a@1\" },\n]\ndeny = [\n  \
                    # Why.\n  { crate = \"cc\", wrappers = [\"d\"] },\n  { crate = \"onig\" },\n]\n";
        let (banned, allowed) = (banned_crates(deny), allowed_licences(deny));
        assert_eq!((&banned[..], &allowed[..]), (&["cc", "onig"][..], &["MIT", "Zlib"][..]));
        let check = |line| refusal(line, &banned, &allowed);
        for line in ["a v1.0.0|MIT/Apache-2.0", "a v1.0.0|MIT AND Zlib (*)", "own v1.0.0 (/folder)|", ""] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
        for (line, why) in [
            ("cc v1.0.0|MIT", "cc is banned"),
            ("a v1.0.0|GPL-3.0-only", "GPL-3.0-only is not allowed"),
            ("a v1.0.0|MIT AND Apache-2.0", "is not allowed"),
            ("a v1.0.0|", "is no licence expression"),
        ] {
            assert!(check(line).is_err_and(|error| error.contains(why)), "{line}");
        }
    }
}
