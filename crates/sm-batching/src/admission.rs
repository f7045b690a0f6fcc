//! Admission: which waiting requests begin to run, and when.
//!
//! ```text
//! order of the queue ──► policy ──► for each chosen request, in order:
//!                                     slots and rows left?          no → stop
//!                                     prefix about to be computed?  yes → skip it for this step
//!                                     pages left?                   no → stop
//!                                     lease the cached prefix, first chunk of the prompt, into the running set
//! ```
//!
//! * A request that does not get its pages stops admission, though a smaller one behind it might fit: otherwise a large
//!   request would be overtaken forever.
//! * Pages are checked for the next step only, with one page in reserve per running sequence; the rest is left to
//!   preemption. Reserving `max_len` pages up front would never preempt, but would leave most of the memory empty:
//!   few requests use all tokens that they may.
//! * **Prefix-aware:** of requests that arrive together with a common prefix, one computes it and the others wait a step or
//!   a few, then find it in the cache. SGLang calls this in-batch prefix caching
//!   ([RadixAttention](https://arxiv.org/abs/2312.07104)). Example: 8 requests with a system prompt of 1000 tokens cost 1000
//!   rows of prefill, not 8000.
//! * An idle engine waits `max_batch_wait_us` for more requests, unless the batch is full already. A batch is full when its
//!   choices fill it: a request for 4 choices takes 4 slots.

use sm_cache::KvCache;

use crate::adaptive::AdaptiveController;
use crate::config::{BatchingConfig, StepLimits};
use crate::policy::{AdmitAt, BatchInfo, BatchPolicy, RequestShape};
use crate::prefill;
use crate::queue::{Queue, RankBy};
use crate::running::Running;
use crate::sequence::Sequence;
use crate::sequences::Sequences;
use crate::step::Step;

/// Tokens that two requests must have in common for one to wait until the other has computed them.
const MIN_COMMON_TOKENS: usize = 32;
/// Requests considered beyond the free slots, because some may have to wait for a prefix.
const LOOK_AHEAD: usize = 8;

/// Lets waiting requests into the running set.
#[derive(Debug)]
pub(crate) struct Admission {
    policy: Box<dyn BatchPolicy>,
    /// If the batch size adapts.
    adaptive: Option<AdaptiveController>,
    max_batch_size: usize,
    last_batch: BatchInfo,
    /// Scratch: indices of waiting requests, in the order of service.
    order: Vec<usize>,
    /// Scratch: what the policy sees of them.
    shapes: Vec<RequestShape>,
    /// Scratch: what the policy chose, as indices into `order`.
    chosen: Vec<usize>,
}

impl Admission {
    pub(crate) fn new(config: &BatchingConfig, limits: &StepLimits) -> Self {
        let max_batch_size = config.batch_size(limits);
        Self {
            policy: config.policy(limits.memory),
            adaptive: config
                .adaptive
                .then(|| AdaptiveController::new(max_batch_size, max_batch_size, config.target_itl_us)),
            max_batch_size,
            last_batch: BatchInfo::default(),
            order: Vec::new(),
            shapes: Vec::new(),
            chosen: Vec::new(),
        }
    }

    pub(crate) fn reconfigure(&mut self, config: &BatchingConfig, limits: &StepLimits) {
        *self = Self { last_batch: self.last_batch, ..Self::new(config, limits) };
    }

    /// The policy.
    pub(crate) fn policy(&self) -> &dyn BatchPolicy {
        &*self.policy
    }

    /// Maximum number of sequences that may decode in a step, which has prompts or not. A policy that limits decoding keeps it
    /// out of steps that prefill.
    pub(crate) fn max_decoding(&self, has_prefill: bool) -> usize {
        match self.policy.max_decoding() {
            usize::MAX => usize::MAX,
            _ if has_prefill => 0,
            max_decoding => max_decoding,
        }
    }

    /// Maximum number of sequences that the configuration lets run.
    pub(crate) fn max_batch_size(&self) -> usize {
        self.max_batch_size
    }

    /// Maximum number of sequences that may run now.
    pub(crate) fn batch_size(&self) -> usize {
        self.adaptive.as_ref().map_or(self.max_batch_size, AdaptiveController::batch_size)
    }

    /// The batch that was formed last.
    pub(crate) fn last_batch(&self) -> BatchInfo {
        self.last_batch
    }

    /// Adapts the batch size after a step.
    pub(crate) fn observe_step(&mut self, step_us: u64, cache: &KvCache) {
        if let Some(adaptive) = &mut self.adaptive {
            let max_pages = cache.max_pages();
            adaptive.observe(step_us, max_pages.saturating_sub(cache.n_available()), max_pages);
        }
    }

    /// When an idle engine begins a batch; `None` if no request may be admitted.
    pub(crate) fn due_us(&self, waiting: &Queue, config: &BatchingConfig) -> Option<u64> {
        let n_choices: usize = waiting.admissible().map(|sequence| sequence.n_choices as usize).sum();
        let has_preempted = waiting.admissible().any(|sequence| sequence.preempted_at.is_some());
        let oldest_us = waiting.admissible().map(|sequence| sequence.arrival_us).min()?;
        let is_full = n_choices >= self.batch_size() || has_preempted;
        Some(if is_full { 0 } else { oldest_us.saturating_add(config.wait_us()) })
    }

    /// Admits waiting requests as the policy says, while there are slots, rows in the step, and pages.
    pub(crate) fn admit(
        &mut self,
        sequences: &mut Sequences,
        step: &mut Step,
        config: &BatchingConfig,
        now_us: u64,
        cache: &mut KvCache,
    ) {
        let is_continuous = self.policy.admit_at() == AdmitAt::EveryStep;
        let mut n_free = self.n_free_slots(&sequences.running);
        let may_admit = if sequences.running.is_empty() {
            self.due_us(&sequences.waiting, config).is_some_and(|due_us| due_us <= now_us)
        } else {
            is_continuous && n_free > 0 && step.budget.has_prefill_rows()
        };
        if !may_admit || sequences.waiting.is_empty() {
            return;
        }
        cache.collect();
        let by = RankBy { config, fairness: &sequences.fairness, cache, now_us };
        self.choose(&mut sequences.waiting, n_free, by);
        let mut batch = BatchInfo::default();
        for next in 0..self.chosen.len() {
            let shape = self.shapes[self.chosen[next]];
            let queue_index = self.order[self.chosen[next]];
            let is_full = shape.n_choices > n_free && !sequences.running.is_empty();
            if is_full || (is_continuous && !step.budget.has_prefill_rows()) {
                break;
            }
            let waiting = sequences.waiting.get(queue_index);
            if is_continuous && is_prefix_in_progress(waiting, &sequences.running, cache) {
                sequences.stats.prefix_waits += 1;
                continue;
            }
            let mut sequence = self.take_waiting(queue_index, &mut sequences.waiting);
            if !lease_pages(&mut sequence, &sequences.running, cache) {
                sequences.waiting.push(sequence);
                break;
            }
            n_free = n_free.saturating_sub(shape.n_choices);
            if sequence.preempted_at.is_none() {
                batch.add(&shape);
            }
            prefill_first_chunk(&mut sequence, step, cache);
            sequences.admit(sequence, config, now_us, cache);
            step.reserve_pages(sequences.running.max_pages(cache));
        }
        if batch.n_sequences > 0 {
            self.last_batch = batch;
            sequences.stats.count_batch(&batch);
        }
    }

    fn n_free_slots(&self, running: &Running) -> usize {
        self.batch_size().saturating_sub(running.n_choices())
    }

    /// Puts the requests that come next into `order`, and the policy's choice of them into `chosen`.
    fn choose(&mut self, waiting: &mut Queue, n_free: usize, by: RankBy<'_>) {
        let is_continuous = self.policy.admit_at() == AdmitAt::EveryStep;
        // A request that waits for a prefix leaves its slot to the next, so more are chosen than there are slots.
        let n_slots = if is_continuous { n_free + LOOK_AHEAD } else { n_free };
        waiting.order(by, if is_continuous { n_slots } else { usize::MAX }, &mut self.order);
        self.shapes.clear();
        self.shapes.extend(self.order.iter().map(|index| shape_of(waiting.get(*index))));
        self.chosen.clear();
        self.policy.select(&self.shapes, n_slots, &mut self.chosen);
        if self.chosen.is_empty() && !self.shapes.is_empty() {
            // Possible only if limits were lowered since the request was accepted, and what was accepted is served.
            self.chosen.push(0);
        }
    }

    /// Takes a request out of the queue, and keeps `order` valid.
    fn take_waiting(&mut self, queue_index: usize, waiting: &mut Queue) -> Sequence {
        let sequence = waiting.swap_remove(queue_index);
        let moved_from = waiting.len();
        self.order.iter_mut().filter(|index| **index == moved_from).for_each(|index| *index = queue_index);
        sequence
    }

    /// The requests that may be admitted soon, in the order of service, as indices into `waiting`.
    pub(crate) fn upcoming(&mut self, waiting: &mut Queue, running: &Running, by: RankBy<'_>) -> &[usize] {
        let n_free = self.n_free_slots(running);
        self.order.clear();
        if n_free > 0 {
            waiting.order(by, n_free + LOOK_AHEAD, &mut self.order);
        }
        &self.order
    }
}

/// What a policy sees of a waiting request.
fn shape_of(sequence: &Sequence) -> RequestShape {
    let Sequence { n_prompt: prompt_len, max_len, n_choices, .. } = *sequence;
    RequestShape { prompt_len, max_len, n_choices: n_choices as usize }
}

/// Whether requests share pages of equal prefixes.
pub(crate) fn shares_prefixes(cache: &KvCache) -> bool {
    cache.config().enabled && cache.config().prefix_sharing
}

/// Whether a running sequence is about to compute the page that a waiting one would compute next.
fn is_prefix_in_progress(waiting: &Sequence, running: &Running, cache: &KvCache) -> bool {
    if waiting.n_scored.is_some() || !shares_prefixes(cache) {
        return false;
    }
    let page_len = cache.page_len();
    let n_cached = cache.shared_len(&waiting.namespace, &waiting.token_ids) / page_len;
    let last = n_cached + MIN_COMMON_TOKENS.div_ceil(page_len) - 1;
    let Some(key) = waiting.page_keys.get(last) else {
        return false;
    };
    // The key of a page depends on all tokens before it too, so one comparison covers the whole prefix.
    let computes =
        |s: &Sequence| s.page_keys.get(last) == Some(key) && s.computed(cache) <= n_cached * page_len;
    running.iter().any(computes)
}

/// Leases pages for a sequence, unless it and the running ones would soon be short of them. Returns whether it did.
fn lease_pages(sequence: &mut Sequence, running: &Running, cache: &mut KvCache) -> bool {
    sequence.take_lease(cache);
    let n_leased = sequence.lease.as_ref().map_or(0, |lease| cache.pages(lease).len());
    let n_needed = cache.pages_for(sequence.max_len.min(sequence.token_ids.len() + 1)) - n_leased;
    let fits = if running.is_empty() {
        n_needed <= cache.n_available()
    } else {
        // One page in reserve for each running sequence, which may need its next one at any step.
        cache.admits(n_needed + running.len())
    };
    if !fits {
        sequence.release_lease(cache);
    }
    fits
}

/// Gives a sequence its first chunk in this step, if there are rows, pages and states.
fn prefill_first_chunk(sequence: &mut Sequence, step: &mut Step, cache: &mut KvCache) {
    prefill::assign_chunk(sequence, &mut step.budget, cache);
    if sequence.reserve_rows(&mut step.copies, cache).is_err() {
        sequence.n_rows = 0;
    }
}
