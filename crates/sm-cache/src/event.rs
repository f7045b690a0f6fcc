//! Cache events for observers.

use std::fmt;

use crate::error::{CacheError, Resource};
use crate::page_key::PageKey;
use crate::prefix::CachedPage;
use crate::session_id::SessionId;

/// Why something was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictionReason {
    /// There were too many sessions.
    SessionCount,
    /// Another request needed the memory.
    Memory,
    /// Memory was reclaimed on demand, or a limit was lowered.
    Trim,
    /// More pages were in use or cached than `gc_threshold_percent` allows.
    Threshold,
}

/// What was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Victim<'a> {
    /// An idle session, with its tokens and pages.
    Session(&'a SessionId),
    /// An idle session's pages and state. Its tokens stay, so its next call costs more but gives the same output.
    SessionPages(&'a SessionId),
    /// A cached page and its snapshot, if it has one. To save the content, copy it before the next step overwrites it.
    Page(CachedPage<'a>),
    /// A snapshot; the page stays. To save the state, copy it before the next step overwrites it.
    Snapshot(CachedPage<'a>),
}

/// Something that happened in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheEvent<'a> {
    /// A call on a session exceeded a limit and fails.
    BudgetExceeded {
        /// The session.
        session: &'a SessionId,
        /// The limit.
        resource: Resource,
        /// What the call needs, in the unit of the limit.
        current: u64,
        /// The value of the limit.
        max: u64,
    },
    /// Unused memory or a session was evicted.
    Evicted {
        /// What.
        victim: Victim<'a>,
        /// Why.
        reason: EvictionReason,
        /// Bytes of pages and states that lost their last reference.
        freed_bytes: u64,
    },
    /// Other requests can now find a content: this is the first page with it. Its predecessor was stored before it.
    Stored(CachedPage<'a>),
    /// Nobody can find a content any more: its last page was evicted, overwritten or dropped.
    Removed {
        /// The key of the content.
        key: PageKey,
    },
}

/// Receives cache events, synchronously on the thread that uses the cache, so it should be quick.
pub trait CacheObserver: fmt::Debug + Send {
    /// Called for each event.
    fn on_event(&mut self, event: &CacheEvent<'_>);
}

/// All observers of a cache.
#[derive(Debug, Default)]
pub(crate) struct Observers(Vec<Box<dyn CacheObserver>>);

impl Observers {
    pub(crate) fn push(&mut self, observer: Box<dyn CacheObserver>) {
        self.0.push(observer);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn on_event(&mut self, event: &CacheEvent<'_>) {
        self.0.iter_mut().for_each(|observer| observer.on_event(event));
    }

    /// Reports that a session exceeded a limit, if that is what the error says.
    pub(crate) fn on_error(&mut self, session: &SessionId, error: &CacheError) {
        if let CacheError::ResourceLimit { resource, limit: max, actual: current } = *error {
            self.on_event(&CacheEvent::BudgetExceeded { session, resource, current, max });
        }
    }
}
