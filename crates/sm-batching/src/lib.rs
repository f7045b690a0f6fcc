//! Continuous batching: decides what each step of an executor computes, and for whom.
//!
//! The crate is deterministic: integers only, and time is an argument.
//!
//! There is no prefill phase and no decode phase. A sequence is two counters: *computed* positions chase known tokens, and
//! each step assigns rows so that the first catch up with the second. Chunked prompts, cached prefixes, resumed sequences
//! and drafts are all the same case.
//!
//! ```text
//! submit ──► queue ──► admission ──► running ──► ended
//!            order      slots,        each step: decode rows, drafts, prefill chunks;
//!            fairness   prefixes,     pages for them, by preemption if need be;
//!            aging      pages         then the results are committed
//! ```
//!
//! * [`Scheduler`] owns the queue and the running sequences. Each step has a row for every decoding sequence (and its drafts)
//!   and chunks of prompts; sequences join and leave between steps.
//! * The next request is the one with the highest [`Priority`], aged by waiting; ties go to the client with the least service,
//!   then to the oldest. A request waits a step for another that is computing its prefix.
//! * If pages run out, the worst ranked sequence is preempted and recomputed later. No tokens change.
//! * For models with recurrent states, each span also names the state slots it reads, writes and keeps: one after each draft,
//!   so that the sequence can roll back to the last accepted one, and snapshots at page ends, where others can start.
//! * [`CostModel`] learns step costs, so that prompt chunks respect a target inter-token latency.
//! * A [`BatchPolicy`] decides which requests form a batch; nothing is ever padded.
//! * [`DraftLength`] chooses the number of drafts for a sequence.
//! * [`AdaptiveController`] chooses the number of running sequences, and [`BatchAdvisor`] recommends settings.
//!
//! # Example
//!
//! Two requests on a model whose next token is always the last one plus one:
//!
//! ```
//! use std::sync::Arc;
//!
//! use sm_batching::{
//!     BatchMemory, BatchingConfig, Request, RequestId, Results, Scheduler, StepLimits, TokenId, Verdict,
//! };
//! use sm_cache::{KvCache, KvCacheConfig, KvShape, Namespace, PagePool};
//!
//! let shape = KvShape { n_layers: 2, n_kv_heads: 2, head_bytes: 32 };
//! let mut cache = KvCache::new(KvCacheConfig::default(), PagePool::new(64, 16, shape))?;
//! let limits = StepLimits::new(512).max_outputs(8).max_sequences(8).row_group(4);
//! let config = BatchingConfig::new().max_batch_wait_us(0);
//! let mut scheduler = Scheduler::new(config, limits)?;
//!
//! let namespace = Arc::new(Namespace { model: "demo".into(), ..Namespace::default() });
//! for (id, prompt) in [vec![TokenId(1), TokenId(2)], vec![TokenId(50)]].into_iter().enumerate() {
//!     let request = Request::new(RequestId(id as u64), prompt, Arc::clone(&namespace), 3);
//!     scheduler.submit(request, 0, &cache).map_err(|(error, _)| error)?;
//! }
//!
//! let mut results = Results::new();
//! let mut now_us = 0;
//! while let Some(step) = scheduler.schedule(now_us, &mut cache) {
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
//! let texts: Vec<Vec<u32>> = scheduler.drain_ended().map(|e| e.token_ids.iter().map(|t| t.0).collect()).collect();
//! assert!(texts.contains(&vec![1, 2, 3, 4, 5]) && texts.contains(&vec![50, 51, 52, 53]));
//! assert_eq!(scheduler.stats().steps, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adaptive;
mod admission;
mod advisor;
mod budget;
mod commit;
mod config;
mod cost;
mod decode;
mod draft_len;
mod error;
mod fairness;
mod policy;
mod preemption;
mod prefill;
mod queue;
mod request;
mod results;
mod running;
mod scheduler;
mod sequence;
mod sequences;
mod stats;
mod step;

pub use adaptive::AdaptiveController;
pub use advisor::{BatchAdvisor, BatchRecord, Recommendations, Suggestion};
pub use config::{BatchingConfig, BatchingStrategy, QueueOrder, StepLimits};
pub use cost::{CostModel, StepLoad};
pub use draft_len::{DraftLength, DraftLimits};
pub use error::{BatchingError, QueueLimit};
pub use policy::{
    AdmitAt, BatchInfo, BatchLimits, BatchMemory, BatchPolicy, Bucketed, Bucketer, Continuous, Naive,
    PrefillOnly, RequestShape,
};
pub use request::{
    EndReason, Ended, PrefetchRequest, Priority, PromptOutputs, Request, RequestId, SequenceId,
};
pub use results::{Results, Verdict};
pub use scheduler::{DecodingSequence, Scheduler};
pub use stats::BatchingStats;
pub use step::{Step, StepPart};

// The types of other crates in this crate's interface, so that a direct dependency on this crate and `sm-cache` is enough to
// drive an executor.
pub use sm_kernels::plan::{KeptState, OutputRow, RopeRange, Span, StateSpan, StepBatch, Wanted};
pub use sm_tensor::{PageId, StateSlot, TokenId};
