//! Criterion benches, and the random models and the executor that they run.

pub mod free;
pub mod synth;
