//! What this crate promises: files become plans that compute what the reference computes, and damaged files become errors.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(clippy::print_stdout, reason = "tests print what they skip and the errors they measure")]

mod allocation;
mod checkpoints;
mod executed;
mod experts;
mod export;
mod formats;
mod interpreter;
mod loading;
mod logits;
mod mixtures;
mod mutations;
mod published;
mod quantized;
mod refusals;
mod snapshots;

use std::path::PathBuf;

/// The golden models of `cargo xtask golden`.
fn golden_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/arch"))
}

/// The quantized models of `cargo xtask golden`.
fn quantized_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quantized/models"))
}

/// The directory of the shared test data; prints a note and returns `None` if there is none.
fn data_dir() -> Option<PathBuf> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let dir = std::env::var_os("SM_TEST_DATA").map_or_else(default, PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no test data at {}; set SM_TEST_DATA", dir.display());
    None
}
