//! Requests, and the sequences that they become: `computed` positions that chase `total` tokens.

use std::sync::Arc;

use sm_cache::{Arrival, CacheError, KvCache, KvHandle, LeaseOwner, LeaseRequest, Namespace, PageKey, Turn};
use sm_tensor::TokenId;

use crate::hold::Hold;

/// How urgent a request is; later variants go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Runs when nothing else waits.
    Low,
    /// What a request has that names no priority.
    #[default]
    Normal,
    /// Before normal requests.
    High,
    /// Before everything else.
    Critical,
}

/// Names a request; given by [`Scheduler::submit`](crate::Scheduler::submit), in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names one sequence of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId {
    /// The request.
    pub request: RequestId,
    /// Index among its choices.
    pub choice: u32,
}

/// Whether logits of the prompt are wanted, for its log-probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptLogits {
    /// Only those that the first new token is sampled from.
    #[default]
    Last,
    /// Those of every position.
    All,
}

/// What is to be generated.
#[derive(Debug)]
pub struct Request {
    /// All tokens known: the prompt or, for a turn, its context; at least one.
    pub prompt: Vec<TokenId>,
    /// Whose pages may be shared.
    pub namespace: Arc<Namespace>,
    /// The call on a session that this is; comes back in [`Ended`](crate::Ended).
    pub turn: Option<Turn>,
    /// How urgent it is.
    pub priority: Priority,
    /// Who asks: requests of different keys are served alike.
    pub key: u64,
    /// Tokens to generate; 0 only to get the prompt's logits.
    pub max_new_tokens: usize,
    /// Sequences that continue the prompt; it is computed once for all.
    pub n_choices: u32,
    /// When it must have ended, in µs.
    pub deadline_us: Option<u64>,
    /// Whether logits of the prompt are wanted.
    pub prompt_logits: PromptLogits,
}

impl Request {
    /// A request of normal priority for one choice.
    pub fn new(prompt: Vec<TokenId>, namespace: Arc<Namespace>, max_new_tokens: usize) -> Self {
        Self {
            prompt,
            namespace,
            turn: None,
            priority: Priority::Normal,
            key: 0,
            max_new_tokens,
            n_choices: 1,
            deadline_us: None,
            prompt_logits: PromptLogits::Last,
        }
    }
}

/// Why a sequence ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The caller said so in its results.
    Stopped,
    /// It has `max_new_tokens`.
    Length,
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    TimedOut,
    /// The cache cannot hold it.
    Cache(CacheError),
}

/// A sequence that ended, and what it leaves.
#[derive(Debug)]
pub struct Ended {
    /// The sequence; the first of its request if that ended before it was forked.
    pub id: SequenceId,
    /// Sequences that end with this one, itself included: more than 1 only if the request ended before it was forked.
    pub n_choices: u32,
    /// Why.
    pub reason: EndReason,
    /// The prompt and what was generated.
    pub token_ids: Vec<TokenId>,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// For a call on a session, what [`KvCache::end_turn`] needs. The pages of others are given back already.
    pub turn: Option<(Turn, Option<KvHandle>)>,
}

/// A sequence that waits or runs.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    /// Sequences that this one still stands for; above 1 until the prompt is computed.
    pub(crate) n_choices: u32,
    /// The prompt and what was generated.
    pub(crate) token_ids: Vec<TokenId>,
    pub(crate) n_prompt: usize,
    /// Length at which it ends.
    pub(crate) max_len: usize,
    /// What may follow the tokens; checked in the next step.
    pub(crate) drafts: Vec<TokenId>,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) turn: Option<Turn>,
    pub(crate) lease: Option<KvHandle>,
    pub(crate) priority: Priority,
    /// The level at which it was admitted.
    pub(crate) level: Priority,
    /// The slot of its key.
    pub(crate) key: usize,
    pub(crate) arrival_us: u64,
    /// Steps had been made when it arrived: requests of one round count as arrived together.
    pub(crate) round: u64,
    pub(crate) deadline_us: Option<u64>,
    /// Prompt positions whose logits have been delivered, if they are wanted.
    pub(crate) n_scored: Option<usize>,
    /// The keys of the prompt's full pages.
    pub(crate) page_keys: Vec<PageKey>,
    /// Positions that had been computed when it was preempted; `None` before it first ran.
    pub(crate) n_lost: Option<usize>,
    /// Rows in the present step.
    pub(crate) n_rows: usize,
    /// The last step that it was in.
    pub(crate) last_step: u64,
    /// While it waits: whether it may start.
    pub(crate) hold: Hold,
}

impl Sequence {
    /// Positions that are computed.
    pub(crate) fn computed(&self, cache: &KvCache) -> usize {
        self.lease.as_ref().map_or(0, |lease| cache.computed(lease))
    }

    /// Rows that it lacks, drafts not counted.
    pub(crate) fn remaining(&self, cache: &KvCache) -> usize {
        self.token_ids.len() - self.computed(cache)
    }

    /// Whether a token follows what is known.
    pub(crate) fn samples(&self) -> bool {
        self.token_ids.len() < self.max_len
    }

    /// Drafts that it can use: a token follows them in any case.
    pub(crate) fn max_drafts(&self) -> usize {
        self.max_len.saturating_sub(self.token_ids.len() + 1)
    }

    /// Whether the logits at `position` are wanted.
    pub(crate) fn is_output(&self, position: usize) -> bool {
        let scored =
            self.n_scored.is_some_and(|n_scored| n_scored <= position && position + 1 < self.n_prompt);
        scored || (self.samples() && position + 1 >= self.token_ids.len())
    }

    /// Tokens of which all but the last may be found computed: the others have logits that are wanted.
    pub(crate) fn reusable(&self) -> &[TokenId] {
        let n_tokens = match self.n_scored {
            Some(0) => 0,
            Some(n_scored) if n_scored + 1 < self.n_prompt => n_scored + 1,
            _ => self.token_ids.len(),
        };
        &self.token_ids[..n_tokens]
    }

    /// Leases the longest computed prefix that leaves all wanted logits to be computed.
    pub(crate) fn take_lease(&mut self, cache: &mut KvCache) {
        let owner = match &self.turn {
            Some(turn) => LeaseOwner::Turn(turn),
            None => LeaseOwner::Request(&self.namespace),
        };
        let arrival = if self.n_lost.is_some() { Arrival::Resumed } else { Arrival::New };
        let (tokens, max_len) = (self.reusable(), self.max_len);
        self.lease = Some(cache.lease(&LeaseRequest { owner, tokens, max_len, arrival }));
    }

    /// Gives its pages back.
    pub(crate) fn drop_lease(&mut self, cache: &mut KvCache) {
        if let Some(lease) = self.lease.take() {
            cache.release(lease);
        }
    }

    /// Ends it: a turn keeps its lease for the session, all others give their pages back.
    pub(crate) fn end(mut self, reason: EndReason, cache: &mut KvCache) -> Ended {
        let turn = match self.turn.take() {
            Some(turn) => Some((turn, self.lease.take())),
            None => {
                self.drop_lease(cache);
                None
            }
        };
        let (id, n_choices, n_prompt) = (self.id, self.n_choices, self.n_prompt);
        Ended { id, n_choices, reason, token_ids: self.token_ids, n_prompt, turn }
    }

    /// Another choice of the same prompt, which is computed.
    pub(crate) fn fork(&self, choice: u32, cache: &mut KvCache) -> Self {
        let mut token_ids = Vec::with_capacity(self.max_len);
        token_ids.extend_from_slice(&self.token_ids);
        Self {
            id: SequenceId { request: self.id.request, choice },
            n_choices: 1,
            token_ids,
            drafts: Vec::new(),
            namespace: Arc::clone(&self.namespace),
            turn: None,
            lease: self.lease.as_ref().map(|lease| cache.fork(lease)),
            n_scored: None,
            page_keys: Vec::new(),
            n_rows: 0,
            ..*self
        }
    }
}
