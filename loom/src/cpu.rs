//! The files under test, in modules named as in the crate.
#![allow(dead_code, reason = "the models do not use all that the crate does")]

#[path = "../../crates/sm-kernels/src/cpu/barrier.rs"]
pub(crate) mod barrier;
#[path = "../../crates/sm-kernels/src/cpu/claims.rs"]
pub(crate) mod claims;
#[path = "../../crates/sm-kernels/src/cpu/signal.rs"]
pub(crate) mod signal;
pub(crate) mod sync;
pub(crate) mod team;
