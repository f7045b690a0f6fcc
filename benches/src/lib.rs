//! Measurements: acceptance table, experiments, replays of traces, and the random models that they run.

pub mod experiments;
pub mod free;
pub mod peers;
mod process;
pub mod random_weights;
pub mod replay;
pub mod summary;
pub mod synth;
