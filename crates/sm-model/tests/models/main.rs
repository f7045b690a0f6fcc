//! What this crate promises: files become plans that compute what the reference computes, and damaged files become errors.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(clippy::print_stdout, reason = "tests print the errors they measure")]

mod allocation;
mod checkpoints;
mod executed;
mod experts;
mod export;
mod formats;
mod golden;
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

use golden::{golden_dir, quantized_dir};
use testing::data_dir;
