//! Finds the shared test data, and keeps account of the tests that have to do without. Included by the tests of other
//! crates.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// The file to which skipped tests write their names. `cargo xtask test` compares it with what it expects.
const SKIPS: &str = "SM_TEST_SKIPS";

/// The directory of the shared test data: `SM_TEST_DATA`, or a folder next to the repository. Without it the test is
/// [skipped](skip).
pub(crate) fn data_dir() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let dir = std::env::var_os("SM_TEST_DATA").map_or_else(beside, PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    skip(&format_args!("{} is not there; SM_TEST_DATA names another folder", dir.display()))
}

/// Notes that the calling test, which then returns, is skipped. It must not pass in silence: unless somebody asked for the
/// list of skipped tests, it fails.
pub(crate) fn skip<T>(reason: &dyn Display) -> Option<T> {
    let Some(path) = std::env::var_os(SKIPS) else {
        panic!("{reason}; or {SKIPS} names a file for the names of tests to skip");
    };
    let thread = std::thread::current();
    let line = format!("{} {}\n", env!("CARGO_CRATE_NAME"), thread.name().unwrap_or("unknown"));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    // One write, so that lines of several processes stay whole.
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        panic!("{}: {error}", path.display());
    }
    None
}
