//! Which backend runs the plans.

#[cfg(feature = "cpu")]
#[path = "backend/cpu.rs"]
mod implementation;
#[cfg(not(feature = "cpu"))]
#[path = "backend/no_cpu.rs"]
mod implementation;

pub use implementation::kernel_sets;
pub(crate) use implementation::{BLOCK_LEN, block_maxima, cpu};
