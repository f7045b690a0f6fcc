//! The runtime of `SmallMind`: load a model, continue a prompt, measure.
//!
//! [`LoadedModel::load`] turns a path, or the demo model, into a plan made ready on a backend. A [`Generator`] continues one sequence with
//! it, blocking ([`Generator::generate`]) or token by token ([`Generator::stream`]); it keeps the keys and values of
//! what it has seen, so a next turn computes only what is new. The choice of tokens is a pure function of options,
//! seed, position and logits ([`sampling`]), so a seed repeats a text wherever the same logits come from.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use sm_runtime::{CancelToken, GenerationOptions, Generator, LoadOptions, LoadedModel, Prompt};
//!
//! # fn main() -> Result<(), sm_runtime::Error> {
//! let model = LoadedModel::load(Path::new("model.gguf"), &LoadOptions::default(), &|_| ())?;
//! let mut generator = Generator::new(model);
//! let (prompt, options) = (Prompt::Text("Once upon a time".into()), GenerationOptions::default());
//!
//! let mut generation = generator.stream(&prompt, &options, &CancelToken::new())?;
//! while let Some(event) = generation.next_event()? {
//!     print!("{}", event.text);
//! }
//! println!("\nseed {}", generation.finish().seed);
//! # Ok(())
//! # }
//! ```

mod backend;
mod bench;
mod cancel;
mod completion;
mod config;
mod engine;
mod error;
mod generation;
mod generator;
mod grammar;
mod input;
mod kv_disk;
mod load;
mod metrics;
mod models;
mod options;
mod output;
mod perplexity;
mod prompt;
mod request;
mod rules;
pub mod sampling;
mod sequence;
mod source;
mod speculate;
mod stop;
#[cfg(test)]
mod testing;
mod text;

/// The code of the tutorials compiles.
#[cfg(doctest)]
mod tutorials {
    #[doc = include_str!("../../../docs/tutorials/concurrent-inference.md")]
    struct ConcurrentInference;
    #[doc = include_str!("../../../docs/tutorials/kv-cache-and-batching.md")]
    struct KvCacheAndBatching;
    #[doc = include_str!("../../../docs/tutorials/checkpoints-and-formats.md")]
    struct CheckpointsAndFormats;
}

pub use backend::kernel_sets;
pub use bench::Bench;
pub use cancel::CancelToken;
pub use completion::{
    Completion, FinishReason, GenerationStrategy, Timings, TokenEvent, TokenLogprob, Usage,
};
pub use config::{EngineConfig, Preset};
pub use engine::{
    BatchRun, Engine, EngineBuilder, EngineStats, Loading, RequestHandle, RequestStatus, Session,
    SessionOptions, TokenStream,
};
pub use error::{Error, ErrorKind, KvDiskError, LimitedResource, LoadError, MemoryBound};
pub use generation::Generation;
pub use generator::Generator;
pub use grammar::Grammar;
pub use kv_disk::{KvDiskConfig, KvDiskStats};
pub use load::{LoadOptions, LoadedModel, load_tokenizer};
pub use metrics::{
    Distribution, MetricsSink, RecentMetrics, RecentSummary, RequestMetrics, StepMetrics, StepPhases, Window,
    percentile,
};
pub use models::{Models, ModelsBuilder};
pub use options::{EosRule, GenerationOptions, Limits, LongInput, MatchedStop, SamplingOptions, StopRules};
pub use perplexity::{Perplexity, PerplexityOptions};
pub use prompt::Prompt;
pub use request::{Request, Select};
pub use source::ModelRef;
pub use speculate::{MAX_DRAFT_LEN, SpeculationConfig, SpeculationStats};

pub use sm_batching::{
    BatchingConfig, BatchingError, BatchingStats, BatchingStrategy, Priority, QueueLimit, QueueOrder,
    Recommendations, RequestId, Suggestion,
};
pub use sm_cache::{
    BlankSessionId, ByteSize, CacheError, CacheEvent, CacheObserver, CachedPage, EvictionPolicy,
    EvictionReason, KvCacheConfig, KvCacheStats, KvShape, MemoryPlan, Resource, SessionId, SessionMode,
    Victim,
};
pub use sm_kernels::plan::{
    ExecutorInfo, KvDType, MemoryNeeds, Plan, Profile, ProfileRow, Progress, Speed, Work,
};
pub use sm_model as model;
pub use sm_tensor::{DType, TokenId};
