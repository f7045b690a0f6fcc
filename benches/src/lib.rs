//! Measurements: acceptance table, experiments, trace replays, and the random models they use.

pub mod experiments;
pub mod free;
pub mod peers;
mod process;
pub mod random_weights;
pub mod replay;
pub mod summary;
pub mod synth;
