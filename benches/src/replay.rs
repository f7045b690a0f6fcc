//! Replays recorded traffic on a real engine.
//!
//! A trace records when requests arrived, how long their prompts and outputs were, and which blocks prompts share. It is
//! scaled to the model; prompts have equal tokens where the trace has equal blocks, and arrive at the trace's times.

pub mod drive;
pub mod fairness;
pub mod lru;
pub mod report;
pub mod verify;

pub(crate) use sm_simulate::mix;
pub use sm_simulate::{scale, trace};
