//! Tests that are skipped because something is missing that this repository does not hold.
//!
//! Such a test writes its name to a list. What is on it afterwards must be what `skipped-tests.txt` says of the things that
//! are missing: a test that is skipped by accident, or passes without having run, does not go unnoticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::cases;
use crate::setup::smollm2;
use crate::spawn::{command, succeeds, target};

/// Names the list to the tests.
pub(super) const VARIABLE: &str = "SM_TEST_SKIPS";

/// The tests that need each thing, below a line with its name.
const EXPECTED: &str = include_str!("../../skipped-tests.txt");

/// The name of the tests that need a GPU, or software that stands in for one.
const GPU: &str = "gpu";
/// The same of those that need a GPU with cooperative matrices.
const MATRICES: &str = "matrices";

/// The skipped tests of a run.
pub(super) struct Skips {
    /// Names of missing things, and what to say of them.
    missing: Vec<(&'static str, String)>,
    path: PathBuf,
}

impl Skips {
    /// Begins a list, for tests that find their data in a folder.
    pub(super) fn begin(data: &Path) -> Result<Self, String> {
        let path = target().join("skipped-tests.txt");
        let failed = |error| format!("{}: {error}", path.display());
        fs::create_dir_all(target()).map_err(failed)?;
        fs::write(&path, "").map_err(failed)?;
        Ok(Self { missing: missing(data), path })
    }

    /// The file for the list.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Prints what is missing, and which tests need it.
    pub(super) fn announce(&self) {
        for (name, why) in &self.missing {
            match expected(name).count() {
                0 => println!("skipped: {name}, since {why}"),
                n => println!("skipped: {n} tests, since {why}"),
            }
        }
    }

    /// Compares the list with what is expected; of part of the tests, some may not have run at all.
    pub(super) fn end(&self, is_whole: bool) -> Outcome {
        let list =
            fs::read_to_string(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        let skipped: BTreeSet<&str> = list.lines().collect();
        let mut missing: Vec<&str> = self.missing.iter().map(|(name, _)| *name).collect();
        // Only the tests know what there is, which all of a kind need.
        for (name, why) in [
            (GPU, "no GPU was found; GPU_TESTS=require makes that an error"),
            (MATRICES, "no GPU with cooperative matrices was found"),
        ] {
            if expected(name).any(|test| skipped.contains(test)) {
                println!("skipped: {} tests, since {why}", expected(name).count());
                missing.push(name);
            }
        }
        let expected: BTreeSet<&str> = missing.iter().flat_map(|name| expected(name)).collect();
        let unexpected = list_of(skipped.difference(&expected));
        let silent = if is_whole { list_of(expected.difference(&skipped)) } else { String::new() };
        match (unexpected.is_empty(), silent.is_empty()) {
            (true, true) => Ok(()),
            (false, _) => Err(format!("skipped, but not in xtask/skipped-tests.txt:{unexpected}")),
            (true, false) => Err(format!("in xtask/skipped-tests.txt, but not skipped:{silent}")),
        }
    }
}

fn missing(data: &Path) -> Vec<(&'static str, String)> {
    let mut missing = Vec::new();
    if !data.is_dir() {
        missing.push(("data", format!("{} is not there; SM_TEST_DATA names another folder", data.display())));
    } else if !cases::folder(data).is_dir() {
        missing.push(("cases", format!("{} is not there", cases::folder(data).display())));
    }
    if !smollm2().exists() {
        missing.push(("smollm2", "cargo xtask setup --models has not fetched SmolLM2-135M".to_owned()));
    }
    if !succeeds(&mut command("redis-server", &["--version"])) {
        missing.push(("redis", "redis-server is not installed".to_owned()));
    }
    missing
}

/// The tests that need a thing.
fn expected(name: &str) -> impl Iterator<Item = &'static str> {
    let mut is_below = false;
    let heading = format!("[{name}]");
    EXPECTED.lines().filter(move |line| {
        if line.starts_with('[') {
            is_below = **line == *heading;
        }
        is_below && !line.is_empty() && !line.starts_with('[')
    })
}

fn list_of<'a>(names: impl Iterator<Item = &'a &'a str>) -> String {
    names.map(|name| format!("\n  {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_not_as_expected_fails() {
        let path = std::env::temp_dir().join(format!("skips-{}", std::process::id()));
        let list = |missing: &[&'static str], lines: &str, is_whole| {
            fs::write(&path, lines).unwrap();
            let missing = missing.iter().map(|name| (*name, String::new())).collect();
            Skips { missing, path: path.clone() }.end(is_whole)
        };
        let data: String = expected("data").map(|name| format!("{name}\n")).collect();
        assert!(data.lines().count() > 40);
        assert_eq!(list(&[], "", true), Ok(()));
        assert_eq!(list(&["data"], &data, true), Ok(()));
        assert_eq!(list(&["data"], "", false), Ok(()));
        assert!(list(&["data"], "", true).unwrap_err().contains("but not skipped"));
        assert!(list(&[], &data, false).unwrap_err().starts_with("skipped, but not in"));
        let gpu: String = expected(GPU).map(|name| format!("{name}\n")).collect();
        assert_eq!(list(&[], &gpu, true), Ok(()));
        let one = gpu.lines().next().unwrap();
        assert!(list(&[], one, true).unwrap_err().contains("but not skipped"));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = missing(Path::new("no such folder"));
        assert!(missing[0].1.contains("no such folder is not there"), "{missing:?}");
    }
}
