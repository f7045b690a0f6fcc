//! The team without the thread pool.

#[path = "../../../crates/sm-kernels/src/cpu/team/fork_join.rs"]
mod fork_join;
#[path = "../../../crates/sm-kernels/src/cpu/team/worker.rs"]
mod worker;

pub(crate) use fork_join::ForkJoin;
pub(crate) use worker::{Part, Worker};
