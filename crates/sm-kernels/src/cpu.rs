//! The CPU backend: one team of threads walks through the phases of a plan together.
//!
//! ```text
//! executor ── program ── ops ──┬── step ── schedule
//!     │                        ├── buffers ── arena ── kv_pool ── allocation
//!     │                        └── pack ── formats ── isa
//!  profiler, speed,         activations, kv_element      split, claims ── team ── barrier ── signal ── sync
//!  team_size, estimate                                                      topology
//! ```
//!
//! Modules import each other downwards only.

pub(crate) mod activations;
pub(crate) mod allocation;
pub(crate) mod arena;
mod backend;
pub(crate) mod barrier;
pub(crate) mod buffers;
pub(crate) mod claims;
mod estimate;
mod executor;
pub(crate) mod formats;
mod forms;
pub(crate) mod isa;
pub(crate) mod kv_element;
pub(crate) mod kv_pool;
pub(crate) mod ops;
pub(crate) mod pack;
pub(crate) mod peak;
mod profiler;
pub(crate) mod program;
pub(crate) mod schedule;
mod select;
pub(crate) mod signal;
mod speed;
pub(crate) mod split;
pub(crate) mod step;
pub(crate) mod sync;
pub(crate) mod team;
mod team_size;
mod topology;
pub(crate) mod weights;
mod worker_state;

pub use backend::CpuBackend;
