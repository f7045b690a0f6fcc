//! A sequence: `computed` positions that chase the tokens known so far.
//!
//! ```text
//!              computed        token_ids.len()        max_len
//!    0 ───────────┬──────────────────┬───────────────────┬
//!      in pages   │ rows it lacks    │ drafts, unverified
//!                 └ remaining ───────┘
//! ```
//!
//! A sequence has no phase. It *prefills* while it lacks more than one row and *decodes* when it lacks exactly one: the row
//! whose logits give its next token. Chunked prompts, prefixes found in the cache, and sequences that resume after
//! preemption differ only in where `computed` stands.
//!
//! With recurrent states, `computed` can fall back further than a page table would: to the last position whose state is
//! known. The rows behind it are then computed again, like those of a resumed sequence.

use std::sync::Arc;

use sm_cache::{Arrival, CacheError, KvCache, KvHandle, LeaseOwner, LeaseRequest, Namespace, PageKey, Turn};
use sm_kernels::plan::{RopeRange, Wanted};
use sm_tensor::{PageId, TokenId};

use crate::request::{EndReason, Ended, PrefetchRequest, Priority, PromptLogits, Request, SequenceId};
use crate::results::Verdict;

/// Whether pages of a waiting sequence are being fetched from a slower tier, such as a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Prefetch {
    /// The tier was not asked yet; the sequence may be admitted.
    #[default]
    Unasked,
    /// Pages are on their way; the sequence must wait for them.
    Pending,
    /// All pages that the tier had are in the cache; it is not asked again.
    Done,
}

/// A sequence that is waiting or running.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    /// Choices that this sequence still stands for: above 1 until the prompt is computed and it is forked.
    pub(crate) n_choices: u32,
    /// The prompt and what was generated.
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
    /// The priority that it had reached when it was admitted.
    pub(crate) admitted_priority: Priority,
    /// Its client's slot in [`Fairness`](crate::fairness::Fairness).
    pub(crate) client: usize,
    pub(crate) arrival_us: u64,
    /// Steps made before it arrived: requests that arrive between the same two steps count as simultaneous.
    pub(crate) arrival_step: u64,
    pub(crate) deadline_us: Option<u64>,
    /// Prompt positions whose logits have been delivered, if all are wanted.
    pub(crate) n_scored: Option<usize>,
    /// What the executor returns for the rows to sample from.
    pub(crate) wanted: Wanted,
    /// Which frequencies turn its keys and queries.
    pub(crate) rope_range: RopeRange,
    /// The keys of the prompt's full pages.
    pub(crate) page_keys: Vec<PageKey>,
    /// While it waits after preemption: positions that were computed.
    pub(crate) preempted_at: Option<usize>,
    /// Rows in the current step.
    pub(crate) n_rows: usize,
    /// Number of the last step that it was in.
    pub(crate) last_step: u64,
    pub(crate) prefetch: Prefetch,
}

impl Sequence {
    /// A sequence that stands for all choices of `request`.
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
            n_scored: (request.prompt_logits == PromptLogits::All).then_some(0),
            wanted: request.wanted,
            rope_range: request.rope_range,
            page_keys,
            preempted_at: None,
            n_rows: 0,
            last_step: 0,
            prefetch: Prefetch::default(),
        }
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

    /// Number of positions that are computed.
    pub(crate) fn computed(&self, cache: &KvCache) -> usize {
        self.lease.as_ref().map_or(0, |lease| cache.computed(lease))
    }

    /// Number of rows that it lacks, drafts not counted.
    pub(crate) fn remaining(&self, cache: &KvCache) -> usize {
        self.token_ids.len() - self.computed(cache)
    }

    pub(crate) fn is_prefilling(&self, cache: &KvCache) -> bool {
        self.remaining(cache) > 1
    }

    pub(crate) fn is_decoding(&self, cache: &KvCache) -> bool {
        self.remaining(cache) == 1
    }

    /// Why it must end before the next step, if it must: its deadline has passed, or it waits for more pages than there can
    /// be. The latter happens only after the limit of the cache was lowered; it would wait forever.
    pub(crate) fn overdue(&self, now_us: u64, cache: &KvCache) -> Option<EndReason> {
        if self.deadline_us.is_some_and(|deadline_us| deadline_us <= now_us) {
            return Some(EndReason::TimedOut);
        }
        let next_len = self.max_len.min(self.token_ids.len() + 1);
        let is_waiting = self.lease.is_none();
        let error = is_waiting.then(|| cache.check_fits(cache.pages_for(next_len)).err())?;
        error.map(EndReason::Cache)
    }

    /// What a slower tier needs to know to fetch its pages.
    pub(crate) fn prefetch_request(&self) -> PrefetchRequest<'_> {
        PrefetchRequest { id: self.id, tokens: self.reusable(), namespace: &self.namespace }
    }

    /// Whether another token is to be sampled.
    pub(crate) fn samples(&self) -> bool {
        self.token_ids.len() < self.max_len
    }

    /// Number of drafts that it can use: a token follows them in any case.
    pub(crate) fn max_drafts(&self) -> usize {
        self.max_len.saturating_sub(self.token_ids.len() + 1)
    }

    /// What the executor is to return for the row at `position`, if anything.
    pub(crate) fn wanted_at(&self, position: usize) -> Option<Wanted> {
        if self.samples() && position + 1 >= self.token_ids.len() {
            return Some(self.wanted);
        }
        let is_scored =
            self.n_scored.is_some_and(|n_scored| n_scored <= position && position + 1 < self.n_prompt);
        is_scored.then_some(Wanted::Logits)
    }

    /// The tokens of which all but the last may be found in the cache. Positions whose logits are wanted must be computed.
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
        let arrival = if self.preempted_at.is_some() { Arrival::Resumed } else { Arrival::New };
        let tokens = self.reusable();
        self.lease = Some(cache.lease(&LeaseRequest { owner, tokens, max_len: self.max_len, arrival }));
    }

    /// Reserves states and pages for its rows; `copies` gets the pages to copy before the step.
    ///
    /// States come first: if there are none, no page was replaced by a copy that is never made.
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

    /// Returns its pages and states, and forgets the rows that they were for.
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

    /// Appends sampled tokens, and discards the positions computed for drafts that they differ from. Returns the number of
    /// accepted drafts.
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

    /// Discards what a failed step was to compute. With recurrent states, the step may have overwritten the state that it began
    /// with; then fewer positions are left.
    pub(crate) fn abandon_rows(&mut self, cache: &mut KvCache) {
        if let Some(lease) = &self.lease {
            cache.truncate(lease, cache.computed(lease));
        }
        self.drafts.clear();
        self.n_rows = 0;
    }

    /// Ends it. A turn keeps its lease for the session; other sequences return their pages.
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
