//! Bookkeeping of the paged KV cache, in integers only: which page belongs to which sequence, and what is in it.
//!
//! The memory is an executor's, cut into pages of a few positions each. This crate decides which page holds what:
//!
//! * A running sequence has a **lease** on its pages ([`KvHandle`]). It reserves pages, has them computed, and commits.
//! * Full pages are known by their content, so requests with equal beginnings share them, whoever computed them. They
//!   stay findable after the last lease ends, until the memory is needed: least recently used first, and of one sequence
//!   the end first.
//! * A **session** ([`SessionId`]) remembers a conversation between calls ([`Turn`]): its tokens, and its pages while
//!   there is room. What it loses costs work, never another answer.
//! * [`KvCacheConfig`] limits sessions and bytes, [`KvCacheStats`] counts what happened, a [`CacheObserver`] is told,
//!   and [`MemoryPlan`] and [`MemoryEstimator`] say beforehand what memory will be needed.
//!
//! No clock, no thread, no randomness: equal calls have equal effects.
//!
//! # Example
//!
//! Two requests whose first 32 tokens are equal:
//!
//! ```
//! use sm_cache::{Arrival, KvCache, KvCacheConfig, KvShape, LeaseOwner, LeaseRequest, Namespace, PagePool};
//! use sm_tensor::TokenId;
//!
//! let shape = KvShape { n_layers: 2, n_kv_heads: 2, head_bytes: 32 };
//! let mut cache = KvCache::new(KvCacheConfig::default(), PagePool::new(8, 16, shape))?;
//! let namespace = Namespace { model: "demo".into(), ..Namespace::default() };
//! let owner = LeaseOwner::Request(&namespace);
//! let mut copies = Vec::new(); // for the executor; empty here, for nobody writes to a shared page
//!
//! // The first request computes its prompt of 40 tokens in one step.
//! let first: Vec<TokenId> = (0..40).map(TokenId).collect();
//! let lease = cache.lease(&LeaseRequest { owner, tokens: &first, max_len: 64, arrival: Arrival::New });
//! cache.reserve(&lease, first.len(), &mut copies)?;
//! assert_eq!(cache.pages(&lease).len(), 3);
//! cache.commit(&lease, &first, first.len()); // after the step
//! cache.release(lease);
//!
//! // The second has nothing to do for the two pages that are equal.
//! let mut second = first.clone();
//! second[35] = TokenId(99);
//! let lease = cache.lease(&LeaseRequest { owner, tokens: &second, max_len: 64, arrival: Arrival::New });
//! assert_eq!(cache.computed(&lease), 32);
//! cache.reserve(&lease, second.len(), &mut copies)?;
//! cache.commit(&lease, &second, second.len());
//! assert_eq!(cache.stats().reused_tokens, 32);
//! cache.release(lease);
//! cache.check()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The life of a sequence
//!
//! ```text
//! begin_turn (sessions only) → lease → { reserve → copies and step of the executor → commit }* → release or end_turn
//!                                        │                                          └ fork, truncate
//!                                        └ OutOfPages: wait, or preempt another: release it, later lease it again
//! ```
//!
//! A drafted token that may be rejected is reserved but not committed.

mod allocator;
mod budget;
mod bytes;
mod cache;
mod check;
mod config;
mod error;
mod estimate;
mod event;
mod list;
mod namespace;
mod page_table;
mod prefix;
mod session;
mod state_slots;
mod stats;

pub use bytes::{ByteSize, ByteSizeError};
pub use cache::{
    Arrival, KeptState, KvCache, KvHandle, LeaseOwner, LeaseRequest, StatePlan, Turn, TurnEnd, TurnRequest,
};
pub use check::CacheFault;
pub use config::{EvictionPolicy, KvCacheConfig, KvShape, PagePool};
pub use error::{CacheError, Resource};
pub use estimate::{BatchSize, EstimateError, MemoryEstimator, MemoryPlan};
pub use event::{CacheEvent, CacheObserver, EvictionReason, Victim};
pub use namespace::Namespace;
pub use prefix::{CachedPage, PageKey};
pub use session::{SessionId, SessionMode};
pub use stats::KvCacheStats;
