//! The plan vocabulary of SmallMind, and the backends that run plans.
//!
//! A model becomes a [`Plan`](plan::Plan): a flat list of fused operations over declared buffers.
//! A [`Backend`](plan::Backend) prepares it once, with weights, into an
//! [`Executor`](plan::Executor) that runs one [`StepBatch`](plan::StepBatch) after the other.

pub mod plan;
pub mod testing;

#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;

#[cfg(feature = "cpu")]
pub use cpu::CpuBackend;
#[cfg(feature = "cpu")]
pub use cpu::isa::{IsaKind, UnknownIsa};
#[cfg(feature = "cpu")]
pub use cpu::ops::block_maxima::{BLOCK_LEN, block_maxima};
#[cfg(feature = "gpu")]
pub use gpu::{Adapter, AdapterKind, Capabilities, GpuBackend, Restriction, SelfTestError};

pub use sm_tensor;
