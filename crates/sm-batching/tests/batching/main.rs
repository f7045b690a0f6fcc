//! The crate's promises: counters of the documented behaviour, and a random simulation compared with lone runs.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

mod counters;
mod memory;
mod simulation;
mod world;
