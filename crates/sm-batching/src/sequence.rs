//! A sequence: `computed` positions that chase the tokens known so far.
//!
//! ```text
//!              computed        token_ids.len()        max_len
//!    0 ───────────┬──────────────────┬───────────────────┬
//!      in pages   │ rows it lacks    │ drafts, unverified
//!                 └ remaining ───────┘
//! ```
//!
//! A sequence has no phase. It *prefills* while it lacks more than one row, and *decodes* when it lacks exactly one: the
//! row whose logits yield its next token. Chunked prompts, cached prefixes and resumed sequences differ only in `computed`.
//!
//! With recurrent states, `computed` can fall back further than a page table would: to the last position with a known
//! state. The rows after it are then recomputed, like those of a resumed sequence.

use std::sync::Arc;

use sm_cache::{Arrival, CacheError, KvCache, KvHandle, LeaseOwner, LeaseRequest, Namespace, PageKey, Turn};
use sm_kernels::plan::{RopeRange, Wanted};
use sm_tensor::{PageId, TokenId};

use crate::request::{EndReason, Ended, PrefetchRequest, Priority, PromptOutputs, Request, SequenceId};
use crate::results::Verdict;

/// Whether a queued sequence's pages are being fetched from a slower tier, such as a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Prefetch {
    /// Not requested yet; the sequence may be admitted.
    #[default]
    Unasked,
    /// In progress; the sequence must wait.
    Pending,
    /// Finished; not requested again.
    Done,
}

/// A queued or running sequence.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    /// Choices this sequence represents: above 1 until its prompt is computed and it is forked.
    pub(crate) n_choices: u32,
    /// The prompt and the output.
    pub(crate) token_ids: Vec<TokenId>,
    pub(crate) n_prompt: usize,
    /// Length at which it ends.
    pub(crate) max_len: usize,
    /// Tokens that may follow `token_ids`, to be verified in the next step.
    pub(crate) drafts: Vec<TokenId>,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) turn: Option<Turn>,
    pub(crate) lease: Option<KvHandle>,
    pub(crate) priority: Priority,
    /// Its aged priority at admission.
    pub(crate) admitted_priority: Priority,
    /// Its client's slot in [`Fairness`](crate::fairness::Fairness).
    pub(crate) client: usize,
    pub(crate) arrival_us: u64,
    /// Number of steps before it arrived: requests arriving between the same two steps count as simultaneous.
    pub(crate) arrival_step: u64,
    pub(crate) deadline_us: Option<u64>,
    /// What is requested of the prompt's positions.
    pub(crate) prompt_outputs: PromptOutputs,
    /// Prompt positions whose outputs have been delivered, if they are requested.
    pub(crate) n_scored: Option<usize>,
    /// What the executor returns for rows to sample from.
    pub(crate) wanted: Wanted,
    /// Which frequencies turn its keys and queries.
    pub(crate) rope_range: RopeRange,
    /// The keys of the prompt's full pages.
    pub(crate) page_keys: Vec<PageKey>,
    /// Computed positions at preemption, while it waits to resume.
    pub(crate) preempted_at: Option<usize>,
    /// Rows in the current step.
    pub(crate) n_rows: usize,
    /// Number of the last step it took part in.
    pub(crate) last_step: u64,
    pub(crate) prefetch: Prefetch,
}

impl Sequence {
    /// A sequence representing all choices of `request`.
    pub(crate) fn new(request: Request, client: usize, page_keys: Vec<PageKey>) -> Self {
        let n_prompt = request.prompt.len();
        let mut token_ids = request.prompt;
        token_ids.reserve_exact(request.max_new_tokens);
        Self {
            id: SequenceId { request: request.id, choice: 0 },
            n_choices: request.n_choices,
            token_ids,
            n_prompt,
            max_len: n_prompt + request.max_new_tokens,
            drafts: Vec::new(),
            namespace: request.namespace,
            turn: request.turn,
            lease: None,
            priority: request.priority,
            admitted_priority: request.priority,
            client,
            arrival_us: 0,
            arrival_step: 0,
            deadline_us: request.deadline_us,
            prompt_outputs: request.prompt_outputs,
            n_scored: request.prompt_outputs.first_scored(n_prompt),
            wanted: request.wanted,
            rope_range: request.rope_range,
            page_keys,
            preempted_at: None,
            n_rows: 0,
            last_step: 0,
            prefetch: Prefetch::default(),
        }
    }

    /// Forks off another choice of the same, computed prompt.
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

    /// Number of computed positions.
    pub(crate) fn computed(&self, cache: &KvCache) -> usize {
        self.lease.as_ref().map_or(0, |lease| cache.computed(lease))
    }

    /// Number of rows still to compute, excluding drafts.
    pub(crate) fn remaining(&self, cache: &KvCache) -> usize {
        self.token_ids.len() - self.computed(cache)
    }

    pub(crate) fn is_prefilling(&self, cache: &KvCache) -> bool {
        self.remaining(cache) > 1
    }

    pub(crate) fn is_decoding(&self, cache: &KvCache) -> bool {
        self.remaining(cache) == 1
    }

    /// Why it must end before the next step, if it must: its deadline passed, or it needs more pages than can exist. The
    /// latter only happens after the cache limit was lowered; it would wait forever.
    pub(crate) fn overdue(&self, now_us: u64, cache: &KvCache) -> Option<EndReason> {
        if self.deadline_us.is_some_and(|deadline_us| deadline_us <= now_us) {
            return Some(EndReason::TimedOut);
        }
        let next_len = self.max_len.min(self.token_ids.len() + 1);
        let is_waiting = self.lease.is_none();
        let error = is_waiting.then(|| cache.check_fits(cache.pages_for(next_len)).err())?;
        error.map(EndReason::Cache)
    }

    /// The request for a slower tier to fetch its pages.
    pub(crate) fn prefetch_request(&self) -> PrefetchRequest<'_> {
        PrefetchRequest { id: self.id, tokens: self.reusable(), namespace: &self.namespace }
    }

    /// Whether another token is to be sampled.
    pub(crate) fn samples(&self) -> bool {
        self.token_ids.len() < self.max_len
    }

    /// Maximum number of useful drafts: a token follows them in any case.
    pub(crate) fn max_drafts(&self) -> usize {
        self.max_len.saturating_sub(self.token_ids.len() + 1)
    }

    /// The output requested for the row at `position`, if any.
    pub(crate) fn wanted_at(&self, position: usize) -> Option<Wanted> {
        if self.samples() && position + 1 >= self.token_ids.len() {
            return Some(self.wanted);
        }
        // The last logits predict a new token; the last hidden state is the prompt's.
        let (wanted, end) = match self.prompt_outputs.are_hidden() {
            true => (Wanted::Hidden, self.n_prompt),
            false => (Wanted::Logits, self.n_prompt - 1),
        };
        let is_scored = self.n_scored.is_some_and(|n_scored| n_scored <= position && position < end);
        is_scored.then_some(wanted)
    }

    /// The tokens of which all but the last may come from the cache. Positions with requested outputs must be computed.
    pub(crate) fn reusable(&self) -> &[TokenId] {
        let n_tokens = match self.n_scored {
            Some(0) => 0,
            Some(n_scored) if n_scored + 1 < self.n_prompt => n_scored + 1,
            _ => self.token_ids.len(),
        };
        &self.token_ids[..n_tokens]
    }

    /// Leases the longest computed prefix that leaves all requested outputs to compute.
    pub(crate) fn take_lease(&mut self, cache: &mut KvCache) {
        let owner = match &self.turn {
            Some(turn) => LeaseOwner::Turn(turn),
            None => LeaseOwner::Request(&self.namespace),
        };
        let arrival = if self.preempted_at.is_some() { Arrival::Resumed } else { Arrival::New };
        let tokens = self.reusable();
        self.lease = Some(cache.lease(&LeaseRequest { owner, tokens, max_len: self.max_len, arrival }));
    }

    /// Reserves states and pages for its rows; `copies` gets the pages to copy before the step.
    ///
    /// States come first: if they run out, no page has been replaced by a copy that is never made.
    ///
    /// # Errors
    /// Those of [`KvCache::reserve_states`] and [`KvCache::reserve`].
    pub(crate) fn reserve_rows(
        &self,
        copies: &mut Vec<(PageId, PageId)>,
        cache: &mut KvCache,
    ) -> Result<(), CacheError> {
        let Some(lease) = self.lease.as_ref().filter(|_| self.n_rows > 0) else {
            return Ok(());
        };
        let n_certain = self.n_rows.min(self.remaining(cache));
        cache.reserve_states(lease, self.n_rows, n_certain)?;
        cache.reserve(lease, cache.computed(lease) + self.n_rows, copies)
    }

    /// Releases its pages and states, and clears its rows.
    pub(crate) fn release_lease(&mut self, cache: &mut KvCache) {
        if let Some(lease) = self.lease.take() {
            cache.release(lease);
        }
        self.drafts.clear();
        self.n_rows = 0;
    }

    /// Records that the first `computed` positions are computed.
    pub(crate) fn commit(&mut self, computed: usize, cache: &mut KvCache) {
        if let Some(lease) = &self.lease {
            cache.commit(lease, &self.token_ids, computed);
        }
        self.n_rows = 0;
    }

    /// Appends sampled tokens and discards the positions of rejected drafts. Returns the number of accepted drafts.
    pub(crate) fn accept(&mut self, tokens: &[TokenId], verdict: Verdict, cache: &mut KvCache) -> usize {
        let n_drafts = self.n_rows.saturating_sub(self.remaining(cache));
        let drafts = &self.drafts[..n_drafts.min(self.drafts.len())];
        let n_accepted = drafts.iter().zip(tokens).take_while(|(draft, token)| draft == token).count();
        let computed = self.token_ids.len() + n_accepted;
        self.token_ids.extend_from_slice(tokens);
        // A sequence that continues needs a row for the logits of its next token.
        let max_computed = match verdict {
            Verdict::Continue => self.token_ids.len() - 1,
            Verdict::Stop => self.token_ids.len(),
        };
        let computed = computed.min(max_computed).max(self.computed(cache));
        self.commit(computed, cache);
        if n_accepted < n_drafts
            && let Some(lease) = &self.lease
        {
            cache.truncate(lease, computed);
        }
        self.drafts.clear();
        n_accepted
    }

    /// Discards the rows of a failed step. With recurrent states, the step may have overwritten its initial state; then
    /// fewer positions are left.
    pub(crate) fn abandon_rows(&mut self, cache: &mut KvCache) {
        if let Some(lease) = &self.lease {
            cache.truncate(lease, cache.computed(lease));
        }
        self.drafts.clear();
        self.n_rows = 0;
    }

    /// Ends it. A turn keeps its lease for the session; other sequences release their pages.
    pub(crate) fn end(mut self, reason: EndReason, cache: &mut KvCache) -> Ended {
        let turn = match self.turn.take() {
            Some(turn) => Some((turn, self.lease.take())),
            None => {
                self.release_lease(cache);
                None
            }
        };
        let Self { id, n_choices, token_ids, n_prompt, .. } = self;
        Ended { id, n_choices, reason, token_ids, n_prompt, turn }
    }
}
