//! Criterion benches, and the random models that they and other engines run.

pub mod synth;
