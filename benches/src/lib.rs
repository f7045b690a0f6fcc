//! Criterion benches and replays of traces, and the random models and the executor that they run.

pub mod free;
pub mod replay;
pub mod summary;
pub mod synth;
