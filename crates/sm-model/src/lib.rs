//! Loads model files and builds plans.
//!
//! [`load_model`] reads a Hugging Face directory, a GGUF file or a `.smnd` checkpoint. Its configuration becomes a
//! [`DecoderSpec`](spec::DecoderSpec), a description of the decoder as data; that becomes a
//! [`Plan`](sm_kernels::plan::Plan), a flat list of operations for a backend; and [`Weights`] provides the tensors that the
//! plan names. [`tokenizer`] and [`chat`] cover tokenizers and chat templates. [`export_gguf`] writes a model as GGUF,
//! optionally quantized.
//!
//! ```
//! use sm_model::{LoadOptions, load_model};
//!
//! // A tiny random model from the tests; any Hugging Face directory, GGUF or `.smnd` file will do.
//! let model = load_model("tests/data/arch/qwen2".as_ref(), &LoadOptions::default())?;
//! assert_eq!(model.architecture(), "qwen2");
//! assert_eq!(model.plan.vocab_size(), 56);
//! # Ok::<(), sm_model::LoadError>(())
//! ```

mod arch;
pub mod chat;
mod config;
mod contents;
mod decoder;
mod error;
mod export;
mod json;
mod load;
pub mod metadata;
mod mixture;
mod model;
mod names;
mod sampling;
pub mod spec;
#[cfg(test)]
mod testing;
pub mod tokenizer;
mod weights;
mod xielu;

pub use arch::architectures;
pub use contents::{Contents, TensorContents};
pub use error::LoadError;
pub use export::{ExportError, ExportOptions, Exported, ImportanceMatrix, export_gguf};
pub use load::TensorInfo;
pub use load::gguf::{Gguf, GgufWriter, TensorSpec, WriteError};
pub use load::quantized::{LoadNote, Loss};
pub use mixture::{Mixture, MixtureModel, UnknownMixture};
pub use model::{DEFAULT_CONTEXT_LEN, LoadOptions, Model, ModelBytes, ModelSource, load_model, parse_model};
pub use names::{LinearLayout, Naming};
pub use sampling::SamplingDefaults;
pub use weights::{Fallback, Weights};

pub use {sm_kernels, sm_tensor};
