//! Models: from files to plans.
//!
//! A model file or directory becomes a list of typed tensors and a configuration; the configuration becomes a
//! description of the decoder as data, and that a [`Plan`](sm_kernels::plan::Plan). [`load_model`] does it all.
//! Beside the model lie its [`tokenizer`] and its [`chat`] template.
//!
//! ```
//! use sm_model::{LoadOptions, load_model};
//!
//! // A tiny random model of the tests; any Hugging Face directory, GGUF or `.smnd` file will do.
//! let model = load_model("tests/data/arch/qwen2".as_ref(), &LoadOptions::default())?;
//! assert_eq!(model.architecture(), "qwen2");
//! assert_eq!(model.plan.vocab_size(), 56);
//! # Ok::<(), sm_model::LoadError>(())
//! ```

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
pub use load::file::MappedFile;
pub use load::gguf::{Gguf, GgufWriter, TensorSpec, WriteError};
pub use mixture::{Mixture, MixtureModel};
pub use model::{DEFAULT_CONTEXT_LEN, LoadOptions, Model, ModelBytes, ModelSource, load_model, parse_model};
pub use names::{LinearLayout, Naming};
pub use weights::{Fallback, Weights};

pub use {sm_kernels, sm_tensor};
