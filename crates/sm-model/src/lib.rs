//! Models: from files to plans.
//!
//! A model file or directory becomes a list of typed tensors and a configuration; the configuration becomes a
//! description of the decoder as data, and that a [`Plan`](sm_kernels::plan::Plan).

mod error;
mod load;
pub mod metadata;
#[cfg(test)]
mod testing;

pub use error::LoadError;
pub use load::TensorInfo;
pub use load::gguf::Gguf;
