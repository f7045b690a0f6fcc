//! What this crate promises: files become plans that compute what the reference computes, and damaged files become errors.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(clippy::print_stdout, reason = "tests print the errors they measure")]

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
#[path = "../../src/testing.rs"]
mod testing;

use std::path::PathBuf;

use testing::data_dir;

/// The golden models of `cargo xtask golden`.
fn golden_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/arch"))
}

/// The quantized models of `cargo xtask golden`.
fn quantized_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quantized/models"))
}
