//! The GPU backend: plans as WGSL kernels, through wgpu on Vulkan, Metal and DX12.
//!
//! ```text
//! self_test
//! backend ── executor ── program ── ops ── binder ── kv_pool, weights ── form
//!                ├── select, speed ──────┤
//!                └── profiler, readback      └── step            └── device ── kernel, driver_cache ── adapters ── kept, matrices
//! ```
//!
//! Modules import each other downwards only. What runs on the device is in the `.wgsl` files beside the operations; a kernel is
//! the text of several of them behind constants that say formats and shapes.
//!
//! # The same bits in every schedule
//!
//! What a row gets never depends on the other rows of a step. Sums over columns have one order, in the kernel for few rows and in
//! that for many: segments of 32 columns are dealt to 8 strips, a strip adds its columns in order, and the strips are added in
//! order. The first kernel gives strips to lanes, the second walks through them. In int8 a segment's sum is exact, and its scales are
//! multiplied by one function of both. Cooperative matrices have an order of their own, so that with these weights products of all
//! numbers of rows use them: a strip is one chain of them. Attention partitions positions at fixed places and merges the partitions in
//! order. Lanes exchange values through subgroups where the adapter has them, else through memory;
//! products have the same bits either way, norms and attention may not. Between adapters and drivers bits may differ: those of a
//! GPU's exponentials do.

mod adapters;
mod backend;
mod binder;
mod device;
mod driver_cache;
mod executor;
mod form;
mod kept;
mod kernel;
mod kv_pool;
mod matrices;
mod ops;
mod profiler;
mod program;
mod readback;
mod results;
mod select;
mod self_test;
mod sizes;
mod speed;
mod step;
mod tuning;
mod weights;

pub use adapters::{Adapter, AdapterKind, Capabilities};
pub use backend::GpuBackend;
pub use device::Restriction;
pub use self_test::SelfTestError;
