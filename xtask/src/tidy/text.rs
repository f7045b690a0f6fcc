//! Rules for a file's first line, length and name, and for forbidden words.

use super::{Finding, SourceFile};

const MAX_LINES: usize = 400;

/// Files that are one long table, and why they are not split.
const TABLES: [(&str, &str); 0] = [];

/// Meaningless module names.
const EMPTY_NAMES: [&str; 5] = ["utils", "util", "common", "helpers", "manager"];

/// Markers of unfinished work, split so that this file does not match.
const UNFINISHED: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
    concat!("#[ig", "nore"),
];

/// Prefixes of machine-specific paths.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/tm", "p/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// Checks each file.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for file in files {
        check_file(file, findings);
    }
}

fn check_file(file: &SourceFile, findings: &mut Vec<Finding>) {
    check_words(file, findings);
    check_first_line(file, findings);
    if !file.is_rust() {
        return;
    }
    check_name(file, findings);
    let n_lines = file.text.lines().count();
    if n_lines > MAX_LINES && !file.is_test() && !TABLES.iter().any(|(path, _)| *path == file.path) {
        findings.push(
            file.finding(0, format!("{n_lines} lines; the limit is {MAX_LINES}: split it by what it does")),
        );
    }
}

fn check_first_line(file: &SourceFile, findings: &mut Vec<Finding>) {
    // A script may say first what runs it.
    let first = file.text.lines().find(|line| !line.starts_with("#!/")).unwrap_or_default();
    let wanted = match file.path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") => "//! ",
        Some("wgsl") => "// ",
        Some("py") => "\"\"\"",
        _ => return,
    };
    if !first.starts_with(wanted) {
        findings.push(file.finding(1, format!("the first line says what the file does: `{wanted}…`")));
    }
}

fn check_name(file: &SourceFile, findings: &mut Vec<Finding>) {
    let name = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if name == "mod" {
        findings.push(file.finding(0, "a module `foo` is `foo.rs` and `foo/`, without mod.rs"));
    }
    if EMPTY_NAMES.contains(&name) {
        findings.push(file.finding(0, format!("{name:?} says nothing; name the module for what it does")));
    }
}

fn check_words(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        for mark in UNFINISHED {
            if line.contains(mark) {
                findings.push(file.finding(number, format!("unfinished: {mark}")));
            }
        }
        for path in MACHINE_PATHS {
            if starts_a_path(line, path) {
                findings.push(file.finding(number, format!("a path of one machine: {path}")));
            }
        }
    }
}

/// Whether `line` has a path that starts with `path`, not a longer path or a URL that contains it.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}'))
    })
}
