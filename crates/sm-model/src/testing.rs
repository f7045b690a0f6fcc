//! Finds the shared test data.

use std::path::PathBuf;

/// The directory of the shared test data; prints a note and returns `None` if there is none.
pub(crate) fn data_dir() -> Option<PathBuf> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let dir = std::env::var_os("SM_TEST_DATA").map_or_else(default, PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no test data at {}; set SM_TEST_DATA", dir.display());
    None
}
