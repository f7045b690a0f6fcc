//! What a cache tells those who watch it.

use std::fmt;

use crate::error::Resource;
use crate::prefix::CachedPage;
use crate::session::SessionId;

/// Why something was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictionReason {
    /// There were too many sessions.
    SessionCount,
    /// Another request needed the memory.
    Memory,
    /// Memory was asked back.
    Trim,
    /// More pages held something than `gc_threshold_percent` says.
    Threshold,
}

/// What was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Victim<'a> {
    /// An idle session's pages and its tokens: the session is gone.
    Session(&'a SessionId),
    /// An idle session's pages. Its tokens stay, so its next call gives the same output and costs more.
    SessionPages(&'a SessionId),
    /// An unreferenced page, about to be overwritten: what wants to keep its content must copy it before the next step.
    Page(CachedPage<'a>),
    /// The state after a page, about to be overwritten; the page itself stays.
    Snapshot(CachedPage<'a>),
}

/// Something that happened in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheEvent<'a> {
    /// A session asked for more than it may have; the request fails.
    BudgetExceeded {
        /// The session.
        session: &'a SessionId,
        /// The limit that it met.
        resource: Resource,
        /// What it asked for, in the unit of the limit.
        current: u64,
        /// The limit.
        max: u64,
    },
    /// Something idle gave way.
    Evicted {
        /// What it was.
        victim: Victim<'a>,
        /// Why.
        reason: EvictionReason,
        /// Bytes of the pages that nobody refers to any more because of this.
        freed_bytes: u64,
    },
}

/// Watches a cache. Called in the thread that changes the cache, while it does so: be quick.
pub trait CacheObserver: fmt::Debug + Send {
    /// Takes note of an event.
    fn on_event(&mut self, event: &CacheEvent<'_>);
}

/// All who watch a cache.
#[derive(Debug, Default)]
pub(crate) struct Observers(Vec<Box<dyn CacheObserver>>);

impl Observers {
    pub(crate) fn push(&mut self, observer: Box<dyn CacheObserver>) {
        self.0.push(observer);
    }

    pub(crate) fn on_event(&mut self, event: &CacheEvent<'_>) {
        self.0.iter_mut().for_each(|observer| observer.on_event(event));
    }
}
