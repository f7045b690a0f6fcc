//! Which backend runs the plans.

#[cfg(feature = "cpu")]
#[path = "backend/cpu.rs"]
mod implementation;
#[cfg(not(feature = "cpu"))]
#[path = "backend/no_cpu.rs"]
mod implementation;

pub(crate) use implementation::cpu;
pub use implementation::kernel_sets;
