//! Bookkeeping of a paged KV cache: which page and which recurrent state belongs to which sequence, and what it contains.
//!
//! The memory itself belongs to an executor. It is divided into pages of a few positions each ([PagedAttention]) and, for
//! models with recurrent layers, state slots. This crate only handles their indices:
//!
//! * A running sequence has a **lease** ([`KvHandle`]): it reserves pages for a step, the executor computes, it commits.
//! * Full pages are identified by a hash of their content, so requests with equal **prefixes** share them. After the last
//!   lease ends they stay cached until their memory is needed: evicted least recently used first, and within a sequence
//!   from the end.
//! * Some recurrent **states**, which cannot be truncated, are kept as snapshots at page ends ([`KvCache::reserve_states`]).
//! * A **session** ([`SessionId`]) keeps a conversation between calls ([`Turn`]): its tokens always, its pages while there
//!   is room. Losing pages costs work but never changes the output.
//! * [`KvCacheConfig`] sets limits, [`KvCacheStats`] counts, a [`CacheObserver`] observes evictions, and [`MemoryPlan`] and
//!   [`MemoryEstimator`] estimate memory in advance.
//!
//! The crate is deterministic: no clock, no threads, no randomness.
//!
//! [PagedAttention]: https://arxiv.org/abs/2309.06180
//!
//! # Example
//!
//! Two requests with 35 equal tokens share two pages of 16:
//!
//! ```
//! use sm_cache::{Arrival, KvCache, KvCacheConfig, KvShape, LeaseOwner, LeaseRequest, Namespace, PagePool, TokenId};
//!
//! let shape = KvShape { n_layers: 2, n_kv_heads: 2, head_bytes: 32 };
//! let mut cache = KvCache::new(KvCacheConfig::default(), PagePool::new(8, 16, shape))?;
//! let namespace = Namespace { model: "demo".into(), ..Namespace::default() };
//! let owner = LeaseOwner::Request(&namespace);
//! let mut copies = Vec::new(); // for the executor; stays empty here, because no shared page is written
//!
//! // The first request computes its prompt of 40 tokens in one step.
//! let first: Vec<TokenId> = (0..40).map(TokenId).collect();
//! let lease = cache.lease(&LeaseRequest { owner, tokens: &first, max_len: 64, arrival: Arrival::New });
//! cache.reserve(&lease, first.len(), &mut copies)?;
//! assert_eq!(cache.pages(&lease).len(), 3);
//! cache.commit(&lease, &first, first.len()); // after the step
//! cache.release(lease);
//!
//! // The second skips the two pages that are equal.
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
//! begin_turn (sessions only) → lease → { reserve, reserve_states → copies and step of the executor → commit }* → release or end_turn
//!                                        │                                                           └ fork, truncate
//!                                        └ out of memory: wait, or preempt another sequence: release it, later lease it again
//! ```
//!
//! Drafts are reserved like other rows, but only accepted ones are committed. [`KvCache::truncate`] drops the rest.

mod allocator;
mod budget;
mod bytes;
mod cache;
mod config;
mod error;
mod estimate;
mod event;
mod lease;
mod list;
mod namespace;
mod page_key;
mod page_table;
mod prefix;
mod session;
mod session_id;
mod state_slots;
mod stats;

pub use bytes::{ByteSize, ByteSizeError};
pub use cache::{Arrival, CacheFault, KvCache, LeaseOwner, LeaseRequest, StatePlan, TurnEnd, TurnRequest};
pub use config::{EvictionPolicy, KvCacheConfig, KvShape, PagePool};
pub use error::{CacheError, Resource};
pub use estimate::{BatchSize, EstimateError, MemoryEstimator, MemoryPlan};
pub use event::{CacheEvent, CacheObserver, EvictionReason, Victim};
pub use lease::{KeptState, KvHandle};
pub use namespace::Namespace;
pub use page_key::PageKey;
pub use prefix::CachedPage;
pub use session::{SessionMode, Turn};
pub use session_id::{BlankSessionId, SessionId};
pub use stats::KvCacheStats;

pub use sm_tensor::{PageId, TokenId};
