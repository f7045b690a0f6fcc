//! Runs language models: an engine that serves one caller or hundreds from one copy of the weights.
//!
//! Three lines answer a chat:
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
//! use sm_runtime::{ChatRequest, Engine, GenerationOptions, ModelRef};
//!
//! let engine = Engine::builder().load(ModelRef::Demo)?;
//! let question = ChatRequest::new().user("What is 17 + 25?");
//! let answer = engine.generate(question.into(), &GenerationOptions::greedy())?;
//! assert!(answer.text.contains("42"));
//! # }
//! # Ok::<(), sm_runtime::Error>(())
//! ```
//!
//! [`ModelRef::Demo`] is a small model built into the program. Paths work too: a Hugging Face directory, or a GGUF,
//! safetensors or `.smnd` file. A [`ChatRequest`] is rendered by the model's chat template; a plain string is continued as
//! is. Whatever else runs concurrently, a request gets exactly the tokens it would get alone, and a seed reproduces them.
//!
//! # Streaming
//!
//! [`Engine::stream`] delivers tokens as they are generated, to a thread ([`TokenStream::next_blocking`]) or a task
//! ([`TokenStream::next`]). Dropping the stream cancels the request.
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
//! # use sm_runtime::{Engine, GenerationOptions, ModelRef, Request};
//! # let engine = Engine::builder().load(ModelRef::Demo)?;
//! let options = GenerationOptions::new().seed(1).max_new_tokens(20);
//! let mut stream = engine.stream(Request::new("Once upon a time".into(), options))?;
//! while let Some(event) = stream.next_blocking() {
//!     print!("{}", event?.text);
//! }
//! # }
//! # Ok::<(), sm_runtime::Error>(())
//! ```
//!
//! # Sessions
//!
//! A [`Session`] keeps the keys and values of a conversation, so that a turn computes only what is new.
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
//! # use sm_runtime::{ChatRequest, Engine, GenerationOptions, ModelRef};
//! # let engine = Engine::builder().load(ModelRef::Demo)?;
//! # let options = GenerationOptions::greedy().max_new_tokens(60);
//! let session = engine.session("alice")?;
//! let ask = |text: &str| session.submit(ChatRequest::new().user(text).into(), options.clone());
//! println!("{}", ask("What is 17 + 25?")?.wait()?[0].text);
//! let second = ask("And what is 3 + 4?")?.wait()?.swap_remove(0);
//! assert!(second.usage.cached_tokens > 20);
//! # }
//! # Ok::<(), sm_runtime::Error>(())
//! ```
//!
//! # Many requests
//!
//! [`Engine::submit`] returns immediately with a handle, which is a future. Requests from all threads share the engine's
//! steps. A [`Request`] also sets the number of choices, the priority, the client for fair scheduling, and a cancel token.
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
//! # use sm_runtime::{Engine, GenerationOptions, ModelRef, Request};
//! # let engine = Engine::builder().load(ModelRef::Demo)?;
//! # let options = GenerationOptions::new().seed(1).max_new_tokens(20);
//! let submit = |text: &str| engine.submit(Request::new(text.into(), options.clone()));
//! let handles = [submit("Once upon a time")?, submit("In a distant galaxy")?];
//! for handle in handles {
//!     println!("{}", handle.wait()?[0].text);
//! }
//! # }
//! # Ok::<(), sm_runtime::Error>(())
//! ```
//!
//! # Structured output
//!
//! A [`Grammar`] constrains sampling: a JSON schema, any JSON object, a regular expression, or a grammar in GBNF or Lark.
//! With the feature `typed`, `Engine::generate_typed` returns a value of a Rust type.
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "demo-model", feature = "grammar"))] {
//! # use sm_runtime::{Engine, GenerationOptions, Grammar, ModelRef};
//! # let engine = Engine::builder().load(ModelRef::Demo)?;
//! let options = GenerationOptions::new().seed(1).grammar(Grammar::Regex("[0-9]{3}-[0-9]{4}".into()));
//! let number = engine.generate("Call".into(), &options)?.text;
//! assert_eq!((number.len(), &number[3..4]), (8, "-"));
//! # }
//! # Ok::<(), sm_runtime::Error>(())
//! ```
//!
//! # Models
//!
//! A [`Loader`] loads a model with options, progress and cancellation. Engines started on clones of a [`LoadedModel`] share
//! its weights. [`Models`] loads and unloads models by name within a memory budget.
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
//! use sm_runtime::{Device, EngineConfig, ExecutorOptions, LoadOptions, Loader};
//! # use sm_runtime::{Engine, ModelRef};
//!
//! let options = LoadOptions::new().device(Device::cpu_threads(2)).context_len(512);
//! let model = Loader::new(ModelRef::Demo).options(options).load()?;
//! let config = EngineConfig::new().executor(ExecutorOptions::new().kv_bytes(32 << 20));
//! let engine = Engine::start(model.clone(), config)?;
//! assert!(engine.model().shares_weights_with(&model));
//! # }
//! # Ok::<(), sm_runtime::Error>(())
//! ```
//!
//! # Tuning
//!
//! An [`EngineConfig`] sets batching, KV cache size and speculative decoding; a [`Preset`] is a starting point.
//! [`Engine::stats`], a [`MetricsSink`] and [`Engine::recommendations`] show what to change. [`Generator`] continues a
//! single sequence without an engine, and [`Bench`] times steps.
//!
//! ```
//! # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
//! use sm_runtime::{Preset, SpeculationConfig};
//! # use sm_runtime::{Engine, GenerationOptions, ModelRef};
//!
//! let lookup = SpeculationConfig::new().lookup();
//! let config = Preset::Throughput.config().speculation(lookup);
//! let engine = Engine::builder().config(config).load(ModelRef::Demo)?;
//! engine.generate("Once upon a time".into(), &GenerationOptions::new().max_new_tokens(8))?;
//! println!("{:.1} sequences per step", engine.stats().average_batch_size());
//! # }
//! # Ok::<(), sm_runtime::Error>(())
//! ```
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `cpu` | yes | the CPU backend, which runs models |
//! | `grammar` | yes | structured output: JSON schemas, regular expressions, grammars |
//! | `typed` | yes | `Engine::generate_typed`: output as a value of a Rust type |
//! | `demo-model` | no | [`ModelRef::Demo`] and its draft model, built into the program (4 MB) |
//!
//! All types in public signatures are re-exported, so a program depends on this crate alone: [`model`] is `sm_model` with
//! its tokenizers and chat templates, and [`serde_json`] has the JSON values of chats.

mod backend;
mod bench;
mod cancel;
mod chunks;
mod clock;
mod completion;
mod config;
mod device;
mod embedding;
mod engine;
mod error;
mod files;
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
mod pooling;
mod prompt;
mod prompt_limit;
mod request;
mod rules;
pub mod sampling;
#[cfg(feature = "scripted")]
mod scripted;
mod sequence;
mod source;
mod speculate;
mod stop;
#[cfg(test)]
mod testing;
mod text;

/// Compiles the tutorials' code.
#[cfg(doctest)]
mod tutorials {
    #[doc = include_str!("../tutorials/concurrent-inference.md")]
    struct ConcurrentInference;
    #[doc = include_str!("../tutorials/kv-cache-and-batching.md")]
    struct KvCacheAndBatching;
    #[doc = include_str!("../tutorials/checkpoints-and-formats.md")]
    struct CheckpointsAndFormats;
}

pub use backend::{Gpu, gpus, kernel_sets, test_gpu};
pub use bench::Bench;
pub use cancel::CancelToken;
pub use completion::{
    Completion, FinishReason, GenerationStrategy, PrefillProgress, Timings, TokenEvent, TokenLogprob, Usage,
};
pub use config::{EngineConfig, Preset};
pub use device::{Device, Threads};
pub use embedding::{EmbedHandle, Embedding};
pub use engine::{
    BatchRun, Engine, EngineBuilder, EngineStats, Loading, RequestHandle, RequestStatus, Session,
    SessionOptions, TokenStream,
};
pub use error::{Error, ErrorKind, KvDiskError, LimitedResource, LoadError, MemoryBound};
pub use generator::{Generation, Generator};
pub use grammar::{Grammar, GrammarLimits, WhiteSpace};
pub use kv_disk::{KvDiskConfig, KvDiskStats};
pub use load::{ExecutorOptions, LoadOptions, LoadedModel, Loader, ModelFacts, PlannedLoad, TokenizerSource};
pub use metrics::{
    Distribution, MetricsSink, RecentMetrics, RecentSummary, RequestMetrics, StepMetrics, StepPhases, Window,
    percentile,
};
pub use models::{AcquireModel, ModelHandle, ModelInfo, ModelSpec, ModelState, Models};
pub use options::{
    DryOptions, DynamicTemperature, EosRule, GenerationOptions, Limits, LogprobsOf, LongInput, MatchedStop,
    MirostatOptions, SamplerKind, SamplingOptions, StopRules, XtcOptions,
};
pub use perplexity::{Perplexity, PerplexityOptions};
pub use pooling::Pooling;
pub use prompt::{ChatRequest, Prompt};
pub use request::{Request, Select};
pub use source::ModelRef;
pub use speculate::{MAX_DRAFT_LEN, SpeculationConfig, SpeculationStats};

pub use sm_batching::{
    BatchingConfig, BatchingError, BatchingStats, BatchingStrategy, Priority, QueueLimit, QueueOrder,
    Recommendations, RequestId, Suggestion,
};
pub use sm_cache::{
    BlankSessionId, ByteSize, ByteSizeError, CacheError, CacheEvent, CacheObserver, CachedPage,
    EstimateError, EvictionPolicy, EvictionReason, KvCacheConfig, KvCacheStats, KvShape, MemoryPlan, PageKey,
    PagePool, Resource, SessionId, SessionMode, Victim,
};
/// Plans and executors, for use with a custom executor ([`LoadedModel::from_executor`]).
pub use sm_kernels::plan;
pub use sm_kernels::plan::{
    ExecutorInfo, KvDType, MemoryNeeds, Plan, Profile, ProfileRow, Progress, Speed, Traffic, Work,
};
/// Model files, tokenizers and chat templates.
pub use sm_model as model;
pub use sm_model::chat::{ChatError, ChatTemplate, Message};
pub use sm_model::tokenizer::SpecialTokens;
pub use sm_tensor::{DType, PageId, StateSlot, TokenId};

#[cfg(feature = "typed")]
pub use schemars;
pub use serde_json;
