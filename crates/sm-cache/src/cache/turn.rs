//! Turns: calls on sessions.

use sm_tensor::TokenId;

use super::lease::check_session;
use super::{KvCache, KvHandle};
use crate::error::{CacheError, Resource};
use crate::namespace::Namespace;
use crate::page_table::PageTable;
use crate::session::{Call, Session, SessionId, SessionMode};

/// A call on a session. It cannot be copied; the session is busy until it is moved back into [`KvCache::end_turn`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the session stays busy until the turn is ended"]
pub struct Turn {
    pub(crate) slot: u32,
}

/// What a call wants of a session.
#[derive(Clone, Copy, Debug)]
pub struct TurnRequest<'a> {
    /// The session; it is begun if there is none.
    pub session: &'a SessionId,
    /// What the tokens are.
    pub mode: SessionMode,
    /// Must be the same in all calls on a session.
    pub namespace: &'a Namespace,
    /// What is new, or everything: see [`SessionMode`].
    pub tokens: &'a [TokenId],
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnEnd<'a> {
    /// Well, or cancelled with all that was said delivered: the session's tokens from now on. It is the call's context and
    /// what was generated, without stop tokens and trimmed text.
    Commit(&'a [TokenId]),
    /// Badly: the session is as it was before.
    Rollback,
}

impl KvCache {
    /// Begins a call on a session. Gives the tokens to be continued: the session's tokens and the new ones, or just the new
    /// ones if they are the whole conversation.
    ///
    /// # Errors
    /// If another call uses the session, it was begun in another namespace, or a limit is met. If all sessions are in use
    /// and no new one is allowed, the error is transient.
    pub fn begin_turn(&mut self, request: &TurnRequest<'_>) -> Result<(Turn, Vec<TokenId>), CacheError> {
        let known = self.sessions.find(request.session);
        if let Some(slot) = known {
            self.check_usable(slot, request.namespace)?;
        }
        let token_ids = known.map_or(&[][..], |slot| &self.sessions.get(slot).token_ids);
        let (kept, context) = match request.mode {
            SessionMode::Append => (token_ids.len(), [token_ids, request.tokens].concat()),
            SessionMode::Prefix => (common_len(token_ids, request.tokens), request.tokens.to_vec()),
        };
        check_session(&self.budget, &mut self.observers, request.session, context.len())?;
        let max_sessions = self.config.max_sessions;
        let is_full = known.is_none() && max_sessions > 0 && self.sessions.len() >= max_sessions;
        if is_full && self.sessions.n_idle() == 0 {
            let (limit, actual) = (max_sessions as u64, self.sessions.len() as u64 + 1);
            return Err(CacheError::ResourceLimit { resource: Resource::Sessions, limit, actual });
        }
        self.budget.check_total(self.pages_for(context.len()))?;
        if is_full {
            self.evict_session();
        }
        let now = self.tick();
        let slot = match known {
            Some(slot) => slot,
            None => self.new_session(request),
        };
        self.sessions.get_mut(slot).call = Some(Call { kept, first: known.is_none() });
        self.sessions.touch(slot, now);
        Ok((Turn { slot }, context))
    }

    fn new_session(&mut self, request: &TurnRequest<'_>) -> u32 {
        let namespace = self.index.enter(request.namespace);
        let (id, token_ids, table) = (request.session.clone(), Vec::new(), PageTable::default());
        self.sessions.insert(Session { id, namespace, token_ids, table, call: None, used: 0 })
    }

    fn check_usable(&self, slot: u32, namespace: &Namespace) -> Result<(), CacheError> {
        let session = self.sessions.get(slot);
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

    /// Ends a call on a session. `lease` is that of the sequence that the session continues from, if it has one at the
    /// moment; leases of its other candidates are released by themselves.
    #[expect(clippy::needless_pass_by_value, reason = "the turn ends here")]
    pub fn end_turn(&mut self, turn: Turn, lease: Option<KvHandle>, end: TurnEnd<'_>) {
        let now = self.tick();
        let session = self.sessions.get_mut(turn.slot);
        let Call { kept, first } = session.call.take().unwrap_or(Call { kept: 0, first: false });
        // Positions that stay valid: of a lease, and of the session's own pages if the call never leased them.
        let (n_valid, n_own) = match end {
            TurnEnd::Commit(token_ids) => {
                session.token_ids.clear();
                session.token_ids.extend_from_slice(token_ids);
                (token_ids.len(), token_ids.len().min(kept))
            }
            TurnEnd::Rollback => (kept, usize::MAX),
        };
        let n_computed = session.table.computed();
        if let Some(lease) = lease {
            self.keep_pages(turn.slot, &lease, n_valid);
        } else if n_computed > n_own {
            self.drop_session_pages(turn.slot);
        }
        self.leases.leave_session(turn.slot);
        self.sessions.touch(turn.slot, now);
        if !self.config.enabled {
            self.drop_session_pages(turn.slot);
        }
        let is_over = first && end == TurnEnd::Rollback;
        if is_over || !self.config.persist_across_requests {
            self.remove_session(turn.slot);
        }
        self.keep_within_limit();
    }

    /// Moves the first `n_valid` positions of a lease to the session, and ends the lease.
    fn keep_pages(&mut self, slot: u32, lease: &KvHandle, n_valid: usize) {
        self.drop_session_pages(slot);
        self.shrink(lease, n_valid);
        let computed = self.computed(lease);
        let n_begun = computed % self.page_len();
        if let Some(last) = self.pages(lease).last()
            && n_begun > 0
            && self.is_shared(*last)
        {
            // Another candidate still writes to it.
            self.shrink(lease, computed - n_begun);
        }
        let table = std::mem::take(&mut self.leases.get_mut(lease).table);
        for page in table.pages() {
            self.allocator.hold(*page);
            self.allocator.unpin(*page, self.clock);
        }
        if let Some(state) = table.state() {
            self.states.add_session_ref(state);
            self.states.unpin(state, self.clock);
        }
        self.sessions.get_mut(slot).table = table;
        self.end(lease);
    }

    /// Forgets a session.
    ///
    /// # Errors
    /// If there is none, or a call uses it.
    pub fn drop_session(&mut self, session: &SessionId) -> Result<(), CacheError> {
        let slot = self.known(session)?;
        if self.sessions.get(slot).call.is_some() {
            return Err(CacheError::SessionBusy { session: session.clone() });
        }
        self.tick();
        self.remove_session(slot);
        Ok(())
    }

    /// All tokens that a session has said so far.
    ///
    /// # Errors
    /// If there is no such session.
    pub fn session_log(&self, session: &SessionId) -> Result<&[TokenId], CacheError> {
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
