//! The queue and the continuous-batching scheduler: deterministic functions of their inputs, time passed in.
//!
//! There is no prefill phase and no decode phase. A sequence is two counters: the positions that are *computed* chase the
//! tokens that are known, and each step hands out rows so that the first catch up with the second. Chunks of prompts,
//! pages found in the cache, preempted sequences that come back and drafts to be checked are then one case.
//!
//! * [`Scheduler`] holds the queue and those who run. Each step has a row for every decoding sequence (and its drafts)
//!   and chunks of prompts; sequences join and leave between any two steps.
//! * Who is next: the [`Priority`], which rises while a request waits; then the key that was served least; then arrival.
//!   A request waits a step for another that is just computing its prefix.
//! * Where pages run out, the worst ranked sequence gives way and computes again later. Nobody's tokens change.
//! * [`CostModel`] learns what steps cost, so that chunks of prompts keep a target for the time between tokens.
//! * A [`BatchPolicy`] says which requests form a batch; nothing is ever padded.
//! * [`DraftLength`] finds how many drafts pay for a sequence.
//! * [`AdaptiveController`] finds how many sequences may run at a time, and [`BatchAdvisor`] helps to find settings.
//!
//! # Example
//!
//! Two requests, served by a model whose next token is always the last one plus one:
//!
//! ```
//! use std::sync::Arc;
//!
//! use sm_batching::{BatchMemory, BatchingConfig, Request, Results, Scheduler, StepLimits, Verdict};
//! use sm_cache::{KvCache, KvCacheConfig, KvShape, Namespace, PagePool};
//! use sm_tensor::TokenId;
//!
//! let shape = KvShape { n_layers: 2, n_kv_heads: 2, head_bytes: 32 };
//! let mut cache = KvCache::new(KvCacheConfig::default(), PagePool { n_pages: 64, page_len: 16, shape })?;
//! let limits = StepLimits { max_tokens: 512, max_outputs: 8, max_sequences: 8, row_group: 4, memory: BatchMemory::default() };
//! let config = BatchingConfig { max_batch_wait_us: 0, ..BatchingConfig::default() };
//! let mut scheduler = Scheduler::new(config, limits)?;
//!
//! let namespace = Arc::new(Namespace { model: "demo".into(), ..Namespace::default() });
//! for prompt in [vec![TokenId(1), TokenId(2)], vec![TokenId(50)]] {
//!     let request = Request::new(prompt, Arc::clone(&namespace), 3);
//!     scheduler.submit(request, 0, &cache).map_err(|(error, _)| error)?;
//! }
//!
//! let mut results = Results::new();
//! let mut now_us = 0;
//! while let Some(step) = scheduler.next_step(now_us, &mut cache) {
//!     // executor.copy_pages(step.copies()), executor.submit(&step.batch()), executor.wait(&mut output)
//!     results.clear();
//!     for part in step.parts() {
//!         for output in part.sampled_outputs() {
//!             let row = step.batch().outputs[output].row as usize;
//!             results.push(&[TokenId(step.batch().tokens[row].0 + 1)], Verdict::Continue);
//!         }
//!     }
//!     now_us += 1000;
//!     scheduler.commit(&results, 1000, &mut cache);
//! }
//!
//! let logs: Vec<Vec<u32>> = scheduler.drain_ended().map(|e| e.token_ids.iter().map(|t| t.0).collect()).collect();
//! assert!(logs.contains(&vec![1, 2, 3, 4, 5]) && logs.contains(&vec![50, 51, 52, 53]));
//! assert_eq!(scheduler.stats().steps, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adaptive;
mod advisor;
mod config;
mod cost;
mod draft_len;
mod error;
mod fairness;
mod finish;
mod hold;
mod policy;
mod preempt;
mod queue;
mod schedule;
mod scheduler;
mod sequence;
mod stats;
mod step;

pub use adaptive::AdaptiveController;
pub use advisor::{BatchAdvisor, BatchRecord, Recommendations, Suggestion};
pub use config::{BatchMemory, BatchingConfig, BatchingStrategy, QueueOrder, StepLimits};
pub use cost::CostModel;
pub use draft_len::{DecodingStep, DraftLength, DraftTerms};
pub use error::{BatchingError, QueueLimit};
pub use finish::{Results, Verdict};
pub use hold::Upcoming;
pub use policy::{
    BatchInfo, BatchPolicy, Bucketed, Bucketer, Continuous, Joining, MemoryAware, Naive, PrefillOnly, Waiting,
};
pub use scheduler::{Decoding, Scheduler};
pub use sequence::{EndReason, Ended, Priority, PromptLogits, Request, RequestId, SequenceId};
pub use stats::BatchingStats;
pub use step::{Step, StepPart};
