//! Sessions: conversations kept between calls.

use std::collections::HashMap;

use sm_tensor::TokenId;

use crate::list::IndexList;
use crate::page_table::PageTable;
use crate::session_id::SessionId;

/// How the tokens of a call relate to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionMode {
    /// Only new tokens, appended to the session's.
    Append,
    /// The whole conversation, which replaces the session's tokens. The common prefix is not recomputed.
    Prefix,
}

/// A call on a session. Not copyable; the session is busy until it is passed to
/// [`KvCache::end_turn`](crate::KvCache::end_turn).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the session stays busy until the turn is ended"]
pub struct Turn {
    pub(crate) session: u32,
}

/// The call using a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Length of the common prefix of the call's context and the session's tokens.
    pub(crate) n_common: usize,
    /// Whether the call created the session.
    pub(crate) is_first: bool,
}

/// One conversation.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) namespace: u32,
    /// All tokens so far, including the last sampled one, which is not computed yet.
    pub(crate) token_ids: Vec<TokenId>,
    /// Pages of the first positions; empty while a lease holds them and after eviction.
    pub(crate) table: PageTable,
    pub(crate) call: Option<Call>,
    /// Time of last use, in ticks of the cache.
    pub(crate) used: u64,
}

/// All sessions by index, with two LRU orders.
#[derive(Debug)]
pub(crate) struct SessionStore {
    by_id: HashMap<SessionId, u32>,
    sessions: Vec<Option<Session>>,
    free: Vec<u32>,
    /// Sessions without a call, least recently used first.
    idle: IndexList,
    /// Sessions with pages, least recently used first.
    with_pages: IndexList,
}

impl SessionStore {
    pub(crate) fn new() -> Self {
        Self {
            by_id: HashMap::new(),
            sessions: Vec::new(),
            free: Vec::new(),
            idle: IndexList::new(0),
            with_pages: IndexList::new(0),
        }
    }

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Number of sessions without a call.
    pub(crate) fn n_idle(&self) -> usize {
        self.idle.len()
    }

    /// The index of a session.
    pub(crate) fn find(&self, id: &SessionId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// The session at an index.
    pub(crate) fn get(&self, session: u32) -> &Session {
        self.sessions[session as usize].as_ref().expect("a session's index belongs to it until it is removed")
    }

    /// The session at an index.
    pub(crate) fn get_mut(&mut self, session: u32) -> &mut Session {
        self.sessions[session as usize].as_mut().expect("a session's index belongs to it until it is removed")
    }

    /// All sessions with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        let numbered = self.sessions.iter().enumerate();
        numbered.filter_map(|(index, session)| Some((index as u32, session.as_ref()?)))
    }

    /// Adds a session without adding it to an order.
    pub(crate) fn insert(&mut self, session: Session) -> u32 {
        let id = session.id.clone();
        let index = match self.free.pop() {
            Some(index) => {
                self.sessions[index as usize] = Some(session);
                index
            }
            None => {
                self.sessions.push(Some(session));
                self.idle.grow();
                self.with_pages.grow();
                (self.sessions.len() - 1) as u32
            }
        };
        self.by_id.insert(id, index);
        index
    }

    /// Removes a session without pages.
    pub(crate) fn remove(&mut self, index: u32) -> Session {
        debug_assert!(!self.with_pages.contains(index), "session {index} has pages");
        self.idle.discard(index);
        let session = self.sessions[index as usize].take();
        let session = session.expect("a session's index belongs to it until it is removed");
        self.by_id.remove(&session.id);
        self.free.push(index);
        session
    }

    /// Makes a session the most recently used one in its orders.
    pub(crate) fn touch(&mut self, index: u32, now: u64) {
        let session = self.get_mut(index);
        session.used = now;
        let is_idle = session.call.is_none();
        let has_pages = !session.table.pages().is_empty();
        for (list, belongs) in [(&mut self.idle, is_idle), (&mut self.with_pages, has_pages)] {
            list.discard(index);
            if belongs {
                list.push_back(index);
            }
        }
    }

    /// Takes pages and state from a session.
    pub(crate) fn take_table(&mut self, index: u32) -> PageTable {
        self.with_pages.discard(index);
        std::mem::take(&mut self.get_mut(index).table)
    }

    /// The least recently used session without a call.
    pub(crate) fn oldest_idle(&self) -> Option<u32> {
        self.idle.front()
    }

    /// The least recently used session with pages, and its time of last use.
    pub(crate) fn oldest_with_pages(&self) -> Option<(u32, u64)> {
        self.with_pages.front().map(|index| (index, self.get(index).used))
    }

    /// Whether a session is in exactly the orders it belongs to.
    pub(crate) fn is_in_order(&self, index: u32) -> bool {
        let session = self.get(index);
        self.idle.contains(index) == session.call.is_none()
            && self.with_pages.contains(index) != session.table.pages().is_empty()
            && self.find(&session.id) == Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(store: &mut SessionStore, name: &str, now: u64) -> u32 {
        let index = store.insert(Session {
            id: SessionId::new(name).unwrap(),
            namespace: 0,
            token_ids: Vec::new(),
            table: PageTable::default(),
            call: None,
            used: 0,
        });
        store.touch(index, now);
        index
    }

    #[test]
    fn sessions_are_ordered_by_last_use() {
        let mut store = SessionStore::new();
        let a = add(&mut store, "a", 1);
        let b = add(&mut store, "b", 2);
        assert_eq!((store.oldest_idle(), store.oldest_with_pages()), (Some(a), None));
        store.touch(a, 3);
        assert_eq!(store.oldest_idle(), Some(b));
        store.get_mut(b).call = Some(Call { n_common: 0, is_first: false });
        store.touch(b, 4);
        assert_eq!((store.oldest_idle(), store.n_idle()), (Some(a), 1));
        assert_eq!(store.remove(a).id.as_str(), "a");
        assert_eq!(add(&mut store, "c", 5), a, "indices are reused");
        assert!(store.is_in_order(a) && store.is_in_order(b));
        assert_eq!(store.find(&SessionId::new("a").unwrap()), None);
    }
}
