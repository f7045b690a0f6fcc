//! Loads a model's files onto a device. Engines, generators, [`Models`] and the command line all load this way.
//!
//! ```text
//! ModelRef ── Loader::plan ──► PlannedLoad ── load ──► LoadedModel ── prepare ──► executor
//!             reads headers,                  packs    weights,                   pages and buffers
//!             checks memory                   weights  tokenizer, chat template   of one engine
//! ```
//!
//! [`Models`]: crate::Models

mod chat;
mod executor;
mod facts;
mod loaded;
mod loader;
mod memory;
mod options;
mod packed;
mod prompts;
mod tokenizer;
mod weights;

pub use executor::ExecutorOptions;
pub use facts::ModelFacts;
pub use loaded::LoadedModel;
pub(crate) use loaded::PreparedExecutor;
pub(crate) use loader::OnProgress;
pub use loader::{Loader, PlannedLoad};
pub use options::LoadOptions;
pub use tokenizer::TokenizerSource;
