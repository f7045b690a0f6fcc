//! Models: from files to plans.
//!
//! A model file or directory becomes a list of typed tensors and a configuration; the configuration becomes a
//! description of the decoder as data, and that a [`Plan`](sm_kernels::plan::Plan). [`load_model`] does it all.

mod arch;
pub mod chat;
mod config;
mod decoder;
mod error;
mod export;
mod load;
pub mod metadata;
mod mixture;
mod model;
mod names;
pub mod spec;
#[cfg(test)]
mod testing;
pub mod tokenizer;
mod weights;

pub use arch::architectures;
pub use error::LoadError;
pub use export::{ExportError, Exported, export_gguf};
pub use load::TensorInfo;
pub use load::gguf::{Gguf, GgufWriter, TensorSpec, WriteError};
pub use mixture::{Mixture, MixtureModel};
pub use model::{DEFAULT_CONTEXT_LEN, LoadOptions, Model, ModelBytes, ModelSource, load_model, parse_model};
pub use names::{LinearLayout, Naming};
pub use weights::{Fallback, Weights};
