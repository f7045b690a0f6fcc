//! `cargo xtask tidy`: the repository's rules that clippy cannot check.

mod circles;
mod dependencies;
mod functions;
mod operations;
mod packages;
mod places;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::spawn::{command, output, root};

/// One broken rule.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A text file of the repository.
struct SourceFile {
    /// Relative to the root, with forward slashes.
    path: String,
    text: String,
}

impl SourceFile {
    fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Lines with their numbers, counted from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(i, line)| (i + 1, line))
    }
}

/// Extensions of files written by people. Data files are only checked for their size.
const WRITTEN: [&str; 11] = ["rs", "wgsl", "py", "md", "toml", "sh", "yml", "yaml", "html", "js", "txt"];

/// The largest file allowed in the repository.
const MAX_FILE_BYTES: u64 = 10 << 20;

/// A rule. It sees all files, since some rules are about how files belong together.
type Check = fn(&[SourceFile], &mut Vec<Finding>);

/// The rules, by the name that `--only` takes.
const RULES: [(&str, Check); 7] = [
    ("text", text::check),
    ("places", places::check),
    ("dependencies", dependencies::check),
    ("packages", packages::check),
    ("functions", functions::check),
    ("circles", circles::check),
    ("operations", operations::check),
];

const USAGE: &str = "\
usage: cargo xtask tidy [--root DIR] [--only RULE]    check this checkout or the one in DIR, by all rules or by one";

/// Checks the files that git tracks or would add.
pub(crate) fn run(args: &[String]) -> Outcome {
    let mut folder = root();
    let mut only = None;
    for option in args.chunks(2) {
        match option {
            [name, dir] if name == "--root" => folder = PathBuf::from(dir),
            [name, rule] if name == "--only" && RULES.iter().any(|(known, _)| known == rule) => {
                only = Some(rule);
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    let findings = findings(&folder, |rule| only.is_none_or(|only| only == rule))?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("== tidy: no findings");
        return Ok(());
    }
    Err(format!("tidy has {} findings", findings.len()))
}

/// Findings of the selected rules in the checkout at `root`.
fn findings(root: &Path, is_selected: impl Fn(&str) -> bool) -> Result<Vec<Finding>, String> {
    let mut list = command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let list = output(list.current_dir(root))?;
    let mut findings = Vec::new();
    let mut files = Vec::new();
    for path in list.lines() {
        let full = root.join(path);
        // git may list files missing from the working tree.
        let Ok(metadata) = std::fs::metadata(&full) else { continue };
        if metadata.len() > MAX_FILE_BYTES {
            let what = format!("{} bytes; the limit is {MAX_FILE_BYTES}", metadata.len());
            findings.push(Finding { path: path.to_owned(), line: 0, what });
        }
        if is_written(path) {
            let text = std::fs::read_to_string(&full).map_err(|e| format!("{path}: {e}"))?;
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    check_all(&files, is_selected, &mut findings);
    Ok(findings)
}

fn is_written(path: &str) -> bool {
    let is_test_data = path.contains("/tests/data/");
    let extension = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, e)| e);
    !is_test_data && (extension.is_some_and(|e| WRITTEN.contains(&e)) || path.starts_with(".ci/"))
}

fn check_all(files: &[SourceFile], is_selected: impl Fn(&str) -> bool, findings: &mut Vec<Finding>) {
    for (name, check) in RULES {
        if is_selected(name) {
            check(files, findings);
        }
    }
}
