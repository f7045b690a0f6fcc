//! The runtime of `SmallMind`: load a model, continue a prompt, measure.
//!
//! [`LoadedModel::load`] turns a path into a plan made ready on a backend. A [`Generator`] continues one sequence with
//! it, blocking ([`Generator::generate`]) or token by token ([`Generator::stream`]); it keeps the keys and values of
//! what it has seen, so a next turn computes only what is new. The choice of tokens is a pure function of options,
//! seed, position and logits ([`sampling`]), so a seed repeats a text wherever the same logits come from.

mod bench;
mod cancel;
mod completion;
mod error;
mod generation;
mod generator;
mod load;
mod options;
mod output;
mod perplexity;
mod prompt;
pub mod sampling;
mod sequence;
mod stop;
mod text;

pub use bench::Bench;
pub use cancel::CancelToken;
pub use completion::{Completion, FinishReason, Timings, TokenEvent, TokenLogprob, Usage};
pub use error::Error;
pub use generation::Generation;
pub use generator::Generator;
pub use load::{LoadOptions, LoadedModel};
pub use options::{EosRule, GenerationOptions, Limits, LongInput, MatchedStop, SamplingOptions, StopRules};
pub use perplexity::{Perplexity, PerplexityOptions};
pub use prompt::Prompt;

pub use sm_kernels::plan::{ExecutorInfo, KvDType, Plan, Progress};
pub use sm_model as model;
pub use sm_tensor::{DType, TokenId};
