//! The operations of a plan: each has exactly the files that CONTRIBUTING.md names in its row "an operation".
//!
//! The list is the `operations!` table in `plan/op.rs`. What the compiler checks, such as the arms of a `match`, is not
//! checked again; this rule keeps knowledge of operations from spreading to other files.

use std::collections::BTreeSet;

use super::{Finding, SourceFile};

/// Where the files of a crate lie.
const KERNELS: &str = "crates/sm-kernels/src/";
/// The table that declares the operations.
const LIST: &str = "plan/op.rs";
/// The folders with one file per operation.
const FOLDERS: [&str; 2] = ["plan/ops/", "cpu/program/"];
/// The files of a folder above that belong to no operation.
const SHARED: [&str; 2] = ["cpu/program/binder.rs", "cpu/program/recode.rs"];
/// The tables with a line for each operation, or for each that needs one.
const TABLES: [&str; 5] = [LIST, "plan/ops.rs", "cpu/program.rs", "cpu/forms.rs", "gpu/ops.rs"];
/// What else a new operation brings: its kernel, and its place in the decoder.
const OTHERS: [&str; 3] = ["cpu/ops/x.rs", "gpu/ops/x.rs", "sm-model/src/decoder/"];
/// How many operations a file may name without being a table.
const MAX_NAMED: usize = 2;

const CONTRIBUTING: &str = "CONTRIBUTING.md";
const ROW: &str = "| an operation |";

/// Checks the crate with the kernels, if it is among `files`.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let Some(list) = files.iter().find(|file| file.path == in_kernels(LIST)) else { return };
    let operations = declared(&list.text);
    if operations.is_empty() {
        findings.push(list.finding(0, "no `operations!` table with the operations of a plan"));
    }
    check_folders(list, files, &operations, findings);
    for file in files.iter().filter(|file| !file.is_test()) {
        check_spread(file, &operations, findings);
    }
    if let Some(file) = files.iter().find(|file| file.path == CONTRIBUTING) {
        check_row(file, findings);
    }
}

fn in_kernels(path: &str) -> String {
    format!("{KERNELS}{path}")
}

/// The variants in the `operations!` table.
fn declared(text: &str) -> BTreeSet<String> {
    let table = text.split("\noperations! {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or("");
    let lines = table.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    lines.filter_map(|line| line.strip_suffix(',')).map(str::to_owned).collect()
}

/// `GatherRows` is in `gather_rows.rs`.
fn file_name(operation: &str) -> String {
    let mut name = String::new();
    for c in operation.chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name + ".rs"
}

/// Each operation has its file in each folder, and each file its operation.
fn check_folders(
    list: &SourceFile,
    files: &[SourceFile],
    operations: &BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    for folder in FOLDERS.map(in_kernels) {
        let expected: BTreeSet<String> =
            operations.iter().map(|operation| folder.clone() + &file_name(operation)).collect();
        for path in &expected {
            if !files.iter().any(|file| file.path == *path) {
                findings.push(list.finding(0, format!("an operation without its file {path}")));
            }
        }
        for file in files.iter().filter(|file| file.path.starts_with(&folder) && !file.is_test()) {
            let is_shared = SHARED.map(in_kernels).contains(&file.path);
            if !is_shared && !expected.contains(&file.path) {
                findings.push(file.finding(0, format!("no operation in {} has this name", list.path)));
            }
        }
    }
}

/// Only the tables enumerate operations; everything else asks the trait `Operation`.
fn check_spread(file: &SourceFile, operations: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    let Some(path) = file.path.strip_prefix(KERNELS) else { return };
    // The test modules inside a file may name what they like.
    let code = file.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let named = operations.iter().filter(|operation| code.contains(&format!("Op::{operation}("))).count();
    if named > MAX_NAMED && !TABLES.contains(&path) {
        let what = format!("names {named} operations, like a table: let the trait `Operation` tell instead");
        findings.push(file.finding(0, what));
    }
}

/// The row of CONTRIBUTING.md names these files, and only these.
fn check_row(file: &SourceFile, findings: &mut Vec<Finding>) {
    let Some((number, row)) = file.lines().find(|(_, line)| line.starts_with(ROW)) else {
        findings.push(file.finding(0, format!("no row {ROW:?} that says what a new operation costs")));
        return;
    };
    let named: BTreeSet<&str> = row.split('`').skip(1).step_by(2).filter(|code| code.contains('/')).collect();
    let folders = FOLDERS.map(|folder| format!("{folder}x.rs"));
    let expected: BTreeSet<&str> = folders.iter().map(String::as_str).chain(TABLES).chain(OTHERS).collect();
    for path in expected.symmetric_difference(&named) {
        let what =
            if named.contains(path) { "a new operation need not touch" } else { "a new operation touches" };
        findings.push(file.finding(number, format!("{what} `{path}`")));
    }
}
