//! Turns: session calls.
//!
//! A call copies the session's tokens, runs as an ordinary sequence, and returns its pages to the session at the end. Until
//! then the session is busy. A failed call leaves the session's tokens unchanged. Pages only cache them: the next call
//! recomputes any that are lost.

use sm_tensor::TokenId;

use super::KvCache;
use crate::error::{CacheError, Resource};
use crate::lease::KvHandle;
use crate::namespace::Namespace;
use crate::page_table::PageTable;
use crate::session::{Call, Session, SessionMode, Turn};
use crate::session_id::SessionId;

/// The arguments of [`KvCache::begin_turn`].
#[derive(Clone, Copy, Debug)]
pub struct TurnRequest<'a> {
    /// The session; created if it does not exist.
    pub session: &'a SessionId,
    /// How the tokens relate to the session.
    pub mode: SessionMode,
    /// Must be the same for all calls on a session.
    pub namespace: &'a Namespace,
    /// New tokens or the whole conversation, depending on the mode.
    pub tokens: &'a [TokenId],
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEnd<'a> {
    /// It succeeded, or was cancelled after its whole output was delivered. These become the session's tokens: the call's
    /// context and output, without stop tokens and trimmed text.
    Commit(&'a [TokenId]),
    /// It failed. The session keeps its previous tokens.
    Rollback,
}

impl KvCache {
    /// Begins a call on a session. Returns the context to continue: the session's tokens plus the new ones, or only the new
    /// ones if they are the whole conversation.
    ///
    /// # Errors
    /// If the session is busy or belongs to another namespace, or a limit is exceeded. The error is transient if there is
    /// no room for a new session because all are in use.
    pub fn begin_turn(&mut self, request: &TurnRequest<'_>) -> Result<(Turn, Vec<TokenId>), CacheError> {
        let known = self.sessions.find(request.session);
        if let Some(session) = known {
            self.check_usable(session, request.namespace)?;
        }
        let token_ids = known.map_or(&[][..], |session| &self.sessions.get(session).token_ids);
        let (n_common, context) = match request.mode {
            SessionMode::Append => (token_ids.len(), [token_ids, request.tokens].concat()),
            SessionMode::Prefix => (common_len(token_ids, request.tokens), request.tokens.to_vec()),
        };
        let within = self.budget.check_session(context.len());
        within.inspect_err(|error| self.observers.on_error(request.session, error))?;
        let max_sessions = self.config.max_sessions;
        let is_full = known.is_none() && max_sessions > 0 && self.sessions.len() >= max_sessions;
        if is_full && self.sessions.n_idle() == 0 {
            return Err(CacheError::ResourceLimit {
                resource: Resource::Sessions,
                limit: max_sessions as u64,
                actual: self.sessions.len() as u64 + 1,
            });
        }
        self.budget.check_total(self.pages_for(context.len()))?;
        if is_full {
            self.evict_session();
        }
        let now = self.tick();
        let session = known.unwrap_or_else(|| self.new_session(request));
        self.sessions.get_mut(session).call = Some(Call { n_common, is_first: known.is_none() });
        self.sessions.touch(session, now);
        Ok((Turn { session }, context))
    }

    fn new_session(&mut self, request: &TurnRequest<'_>) -> u32 {
        let namespace = self.index.enter(request.namespace);
        self.sessions.insert(Session {
            id: request.session.clone(),
            namespace,
            token_ids: Vec::new(),
            table: PageTable::default(),
            call: None,
            used: 0,
        })
    }

    fn check_usable(&self, session: u32, namespace: &Namespace) -> Result<(), CacheError> {
        let session = self.sessions.get(session);
        if session.call.is_some() {
            return Err(CacheError::SessionBusy { session: session.id.clone() });
        }
        let own = self.index.namespaces().get(session.namespace);
        let names = ["model", "kv_dtype", "adapter", "salt"];
        let fields = own.fields().into_iter().zip(namespace.fields());
        match names.into_iter().zip(fields).find(|(_, (own, other))| own != other) {
            Some((field, _)) => Err(CacheError::SessionMismatch { session: session.id.clone(), field }),
            None => Ok(()),
        }
    }

    /// Ends a call on a session. `lease` belongs to the sequence that the session continues, unless it is currently
    /// preempted. Leases of the call's other choices are released separately.
    #[expect(clippy::needless_pass_by_value, reason = "the turn ends here")]
    pub fn end_turn(&mut self, turn: Turn, lease: Option<KvHandle>, end: TurnEnd<'_>) {
        self.tick();
        let session = self.sessions.get_mut(turn.session);
        let Call { n_common, is_first } =
            session.call.take().unwrap_or(Call { n_common: 0, is_first: false });
        // Positions that stay valid, in the lease or, if the call never leased them, in the session's own pages.
        let (n_valid, n_valid_own) = match end {
            TurnEnd::Commit(token_ids) => {
                session.token_ids.clear();
                session.token_ids.extend_from_slice(token_ids);
                (token_ids.len(), token_ids.len().min(n_common))
            }
            TurnEnd::Rollback => (n_common, usize::MAX),
        };
        let n_computed = session.table.computed();
        if let Some(lease) = lease {
            self.keep_pages(turn.session, &lease, n_valid);
        } else if n_computed > n_valid_own {
            self.drop_session_pages(turn.session);
        }
        self.leases.leave_session(turn.session);
        // After the pages just dropped, which follow the session's and must be evicted first.
        let now = self.tick();
        self.sessions.touch(turn.session, now);
        if !self.config.enabled {
            self.drop_session_pages(turn.session);
        }
        let was_never_committed = is_first && end == TurnEnd::Rollback;
        if was_never_committed || !self.config.persist_across_requests {
            self.remove_session(turn.session);
        }
        self.keep_within_limit();
    }

    /// Moves the first `n_valid` positions of a lease, or as many as have a known state, to the session, and ends the
    /// lease.
    fn keep_pages(&mut self, session: u32, lease: &KvHandle, n_valid: usize) {
        self.drop_session_pages(session);
        self.shrink(lease, n_valid);
        let computed = self.computed(lease);
        let n_begun = computed % self.page_len();
        if let Some(last) = self.pages(lease).last()
            && n_begun > 0
            && self.allocator.refs(*last).total() > 1
        {
            // Another choice is still writing to it.
            self.shrink(lease, computed - n_begun);
        }
        let table = std::mem::take(&mut self.leases.get_mut(lease).table);
        for page in table.pages() {
            self.allocator.add_session_ref(*page);
            self.allocator.unpin(*page, self.clock);
        }
        if let Some(state) = table.state() {
            self.states.add_session_ref(state);
            self.states.unpin(state, self.clock);
        }
        self.sessions.get_mut(session).table = table;
        self.end(lease);
    }

    /// Forgets a session.
    ///
    /// # Errors
    /// If it does not exist, or a call uses it.
    pub fn drop_session(&mut self, session: &SessionId) -> Result<(), CacheError> {
        let known = self.known(session)?;
        if self.sessions.get(known).call.is_some() {
            return Err(CacheError::SessionBusy { session: session.clone() });
        }
        self.tick();
        self.remove_session(known);
        Ok(())
    }

    /// All tokens of a session.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn session_token_ids(&self, session: &SessionId) -> Result<&[TokenId], CacheError> {
        Ok(&self.sessions.get(self.known(session)?).token_ids)
    }

    fn known(&self, session: &SessionId) -> Result<u32, CacheError> {
        let unknown = || CacheError::UnknownSession { session: session.clone() };
        self.sessions.find(session).ok_or_else(unknown)
    }
}

fn common_len(a: &[TokenId], b: &[TokenId]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
