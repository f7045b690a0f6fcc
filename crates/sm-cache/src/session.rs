//! Sessions: conversations that are remembered between calls.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use sm_tensor::TokenId;

use crate::error::CacheError;
use crate::list::IndexList;
use crate::page_table::PageTable;

/// Names a session: any text with a visible character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A session of this name.
    ///
    /// # Errors
    /// If the name is blank.
    pub fn new(name: &str) -> Result<Self, CacheError> {
        if name.trim().is_empty() { Err(CacheError::BlankSessionId) } else { Ok(Self(name.into())) }
    }

    /// A name that no other call gives, in this process or, but for chance, in another.
    ///
    /// ```
    /// use sm_cache::SessionId;
    ///
    /// assert_ne!(SessionId::new_id(), SessionId::new_id());
    /// ```
    pub fn new_id() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let process = PROCESS.get_or_init(|| RandomState::new().build_hasher().finish());
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(format!("{process:016x}-{count}").into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = CacheError;

    fn from_str(name: &str) -> Result<Self, CacheError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for SessionId {
    type Error = CacheError;

    fn try_from(name: &str) -> Result<Self, CacheError> {
        Self::new(name)
    }
}

impl TryFrom<String> for SessionId {
    type Error = CacheError;

    fn try_from(name: String) -> Result<Self, CacheError> {
        Self::new(&name)
    }
}

/// What the tokens of a call on a session are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionMode {
    /// Only what is new: they follow what the session has said so far.
    Append,
    /// The whole conversation: they replace what the session has said so far, and what is equal is not computed again.
    Prefix,
}

/// The call that uses a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Positions at which the call's context and the tokens agree.
    pub(crate) kept: usize,
    /// Whether the call began the session.
    pub(crate) first: bool,
}

/// What is remembered.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) namespace: u32,
    /// All tokens said so far. The last one that was sampled is among them, but not yet in the pages.
    pub(crate) token_ids: Vec<TokenId>,
    /// Pages of the tokens' first positions; empty while a lease has them, or when they were evicted.
    pub(crate) table: PageTable,
    pub(crate) call: Option<Call>,
    pub(crate) used: u64,
}

/// All sessions, numbered, and two orders of them.
#[derive(Debug)]
pub(crate) struct SessionStore {
    by_id: HashMap<SessionId, u32>,
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    /// Sessions that no call uses, least recently used first.
    idle: IndexList,
    /// Sessions that hold pages, least recently used first.
    holding: IndexList,
}

impl SessionStore {
    pub(crate) fn new() -> Self {
        Self {
            by_id: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            idle: IndexList::new(0),
            holding: IndexList::new(0),
        }
    }

    /// Number of sessions.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Number of sessions that no call uses.
    pub(crate) fn n_idle(&self) -> usize {
        self.idle.len()
    }

    /// The number of a session.
    pub(crate) fn find(&self, id: &SessionId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// A session by its number.
    pub(crate) fn get(&self, slot: u32) -> &Session {
        self.slots[slot as usize].as_ref().expect("the number of a session belongs to one")
    }

    /// A session by its number, to be changed.
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Session {
        self.slots[slot as usize].as_mut().expect("the number of a session belongs to one")
    }

    /// All sessions with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(slot, session)| Some((slot as u32, session.as_ref()?)))
    }

    /// Adds a session, in neither order yet.
    pub(crate) fn insert(&mut self, session: Session) -> u32 {
        let id = session.id.clone();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(session);
                slot
            }
            None => {
                self.slots.push(Some(session));
                self.idle.grow();
                self.holding.grow();
                (self.slots.len() - 1) as u32
            }
        };
        self.by_id.insert(id, slot);
        slot
    }

    /// Takes out a session that holds no pages.
    pub(crate) fn remove(&mut self, slot: u32) -> Session {
        if self.idle.contains(slot) {
            self.idle.remove(slot);
        }
        debug_assert!(!self.holding.contains(slot), "session {slot} holds pages");
        let session = self.slots[slot as usize].take().expect("the number of a session belongs to one");
        self.by_id.remove(&session.id);
        self.free.push(slot);
        session
    }

    /// Puts a session where it belongs in both orders, as used at time `now`.
    pub(crate) fn touch(&mut self, slot: u32, now: u64) {
        let session = self.get_mut(slot);
        session.used = now;
        let (idle, holding) = (session.call.is_none(), !session.table.pages().is_empty());
        for (list, belongs) in [(&mut self.idle, idle), (&mut self.holding, holding)] {
            if list.contains(slot) {
                list.remove(slot);
            }
            if belongs {
                list.push_back(slot);
            }
        }
    }

    /// Takes the pages from a session.
    pub(crate) fn take_table(&mut self, slot: u32) -> PageTable {
        if self.holding.contains(slot) {
            self.holding.remove(slot);
        }
        std::mem::take(&mut self.get_mut(slot).table)
    }

    /// The least recently used session that no call uses.
    pub(crate) fn oldest_idle(&self) -> Option<u32> {
        self.idle.front()
    }

    /// The least recently used session that holds pages, and when it was used.
    pub(crate) fn oldest_holding(&self) -> Option<(u32, u64)> {
        self.holding.front().map(|slot| (slot, self.get(slot).used))
    }

    /// Whether the session is where it belongs in both orders.
    pub(crate) fn is_in_order(&self, slot: u32) -> bool {
        let session = self.get(slot);
        self.idle.contains(slot) == session.call.is_none()
            && self.holding.contains(slot) != session.table.pages().is_empty()
            && self.find(&session.id) == Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_names_are_refused() {
        for name in ["", " ", "\t\n"] {
            assert_eq!(SessionId::new(name), Err(CacheError::BlankSessionId));
            assert!(name.parse::<SessionId>().is_err());
        }
        assert_eq!(SessionId::try_from("a b").unwrap().to_string(), "a b");
        assert_eq!(SessionId::try_from(String::from("ü")).unwrap().as_str(), "ü");
    }

    #[test]
    fn new_ids_are_unique() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| SessionId::new_id()).collect();
        assert_eq!(ids.len(), 1000);
    }

    #[test]
    fn sessions_keep_their_order_of_use() {
        let mut store = SessionStore::new();
        let add = |store: &mut SessionStore, name: &str, now| {
            let id = SessionId::new(name).unwrap();
            let (token_ids, table) = (Vec::new(), PageTable::default());
            let slot = store.insert(Session { id, namespace: 0, token_ids, table, call: None, used: 0 });
            store.touch(slot, now);
            slot
        };
        let (a, b) = (add(&mut store, "a", 1), add(&mut store, "b", 2));
        assert_eq!((store.oldest_idle(), store.oldest_holding()), (Some(a), None));
        store.touch(a, 3);
        assert_eq!(store.oldest_idle(), Some(b));
        store.get_mut(b).call = Some(Call { kept: 0, first: false });
        store.touch(b, 4);
        assert_eq!((store.oldest_idle(), store.n_idle()), (Some(a), 1));
        assert_eq!(store.remove(a).id.as_str(), "a");
        assert_eq!(add(&mut store, "c", 5), a, "numbers are reused");
        assert!(store.is_in_order(a) && store.is_in_order(b));
        assert_eq!(store.find(&SessionId::new("a").unwrap()), None);
    }
}
