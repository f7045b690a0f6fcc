//! Admission: which queued requests start running, and when.
//!
//! ```text
//! order of the queue ──► policy ──► for each chosen request, in order:
//!                                     slots and rows left?          no → stop
//!                                     prefix about to be computed?  yes → skip it for this step
//!                                     pages left?                   no → stop
//!                                     lease the cached prefix, first chunk of the prompt, into the running set
//! ```
//!
//! * A request that does not get its pages stops admission, even if a smaller one behind it would fit: otherwise a large
//!   request could be overtaken forever.
//! * Pages are checked for the next step only, with one page in reserve per running sequence; preemption handles the rest.
//!   Reserving `max_len` pages up front would avoid preemption but leave most of the memory idle, because few requests
//!   use all the tokens they may.
//! * **Prefix-aware:** of requests that arrive together with a common prefix, one computes it while the others wait a few
//!   steps, then find it in the cache. SGLang calls this in-batch prefix caching
//!   ([RadixAttention](https://arxiv.org/abs/2312.07104)). Example: 8 requests with a system prompt of 1000 tokens cost 1000
//!   rows of prefill, not 8000.
//! * An idle engine waits `max_batch_wait_us` for more requests, unless the batch is already full. Choices count: a request
//!   for 4 choices takes 4 slots.

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

/// Minimum common prefix for one request to wait until another has computed it.
const MIN_COMMON_TOKENS: usize = 32;
/// Requests considered beyond the free slots, because some may have to wait for a prefix.
const LOOK_AHEAD: usize = 8;

/// Admits queued requests into the running set.
#[derive(Debug)]
pub(crate) struct Admission {
    policy: Box<dyn BatchPolicy>,
    /// Set if the batch size adapts.
    adaptive: Option<AdaptiveController>,
    max_batch_size: usize,
    last_batch: BatchInfo,
    /// Scratch: indices of waiting requests, in the order of service.
    order: Vec<usize>,
    /// Scratch: their shapes, for the policy.
    shapes: Vec<RequestShape>,
    /// Scratch: the policy's choice, as indices into `order`.
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

    /// Maximum number of decoding sequences in a step with or without prefill. A policy that limits decoding keeps it out
    /// of prefill steps.
    pub(crate) fn max_decoding(&self, has_prefill: bool) -> usize {
        match self.policy.max_decoding() {
            usize::MAX => usize::MAX,
            _ if has_prefill => 0,
            max_decoding => max_decoding,
        }
    }

    /// Configured maximum number of running sequences.
    pub(crate) fn max_batch_size(&self) -> usize {
        self.max_batch_size
    }

    /// Current maximum number of running sequences.
    pub(crate) fn batch_size(&self) -> usize {
        self.adaptive.as_ref().map_or(self.max_batch_size, AdaptiveController::batch_size)
    }

    /// The last batch formed.
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

    /// When an idle engine should start a batch; `None` if no request may be admitted.
    pub(crate) fn due_us(&self, waiting: &Queue, config: &BatchingConfig) -> Option<u64> {
        let n_choices: usize = waiting.admissible().map(|sequence| sequence.n_choices as usize).sum();
        let has_preempted = waiting.admissible().any(|sequence| sequence.preempted_at.is_some());
        let oldest_us = waiting.admissible().map(|sequence| sequence.arrival_us).min()?;
        let is_full = n_choices >= self.batch_size() || has_preempted;
        Some(if is_full { 0 } else { oldest_us.saturating_add(config.wait_us()) })
    }

    /// Admits queued requests by the policy, while slots, rows and pages last.
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
        self.choose(&mut sequences.waiting, &sequences.running, by);
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

    /// Fills `order` with the next requests, and `chosen` with the policy's choice of them.
    fn choose(&mut self, waiting: &mut Queue, running: &Running, by: RankBy<'_>) {
        let n_free = self.n_free_slots(running);
        let is_continuous = self.policy.admit_at() == AdmitAt::EveryStep;
        // A request waiting for a prefix leaves its slot to the next, so choose more than there are slots.
        let n_slots = if is_continuous { n_free + LOOK_AHEAD } else { n_free };
        waiting.order(by, if is_continuous { n_slots } else { usize::MAX }, &mut self.order);
        self.shapes.clear();
        self.shapes.extend(self.order.iter().map(|index| shape_of(waiting.get(*index))));
        self.chosen.clear();
        let batch = BatchInfo::of(running.iter().map(shape_of));
        self.policy.select(&batch, &self.shapes, n_slots, &mut self.chosen);
        if self.chosen.is_empty() && running.is_empty() && !self.shapes.is_empty() {
            // Happens only if limits were lowered after the request was accepted. Accepted requests are always served.
            self.chosen.push(0);
        }
    }

    /// Removes a request from the queue and keeps `order` valid.
    fn take_waiting(&mut self, queue_index: usize, waiting: &mut Queue) -> Sequence {
        let sequence = waiting.swap_remove(queue_index);
        let moved_from = waiting.len();
        self.order.iter_mut().filter(|index| **index == moved_from).for_each(|index| *index = queue_index);
        sequence
    }

    /// The requests that may be admitted soon, in service order, as indices into `waiting`.
    pub(crate) fn upcoming(&mut self, waiting: &mut Queue, running: &Running, by: RankBy<'_>) -> &[usize] {
        let n_free = self.n_free_slots(running);
        self.order.clear();
        if n_free > 0 {
            waiting.order(by, n_free + LOOK_AHEAD, &mut self.order);
        }
        &self.order
    }
}

/// A sequence's shape, for the policy.
fn shape_of(sequence: &Sequence) -> RequestShape {
    let Sequence { n_prompt: prompt_len, max_len, n_choices, .. } = *sequence;
    RequestShape { prompt_len, max_len, n_choices: n_choices as usize }
}

/// Whether requests share pages of equal prefixes.
pub(crate) fn shares_prefixes(cache: &KvCache) -> bool {
    cache.config().enabled && cache.config().prefix_sharing
}

/// Whether a running sequence is about to compute the page that a queued one would compute next.
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
    // A page's key covers all tokens before it, so one comparison covers the whole prefix.
    let computes =
        |s: &Sequence| s.page_keys.get(last) == Some(key) && s.computed(cache) <= n_cached * page_len;
    running.iter().any(computes)
}

/// Leases pages for a sequence, unless pages would soon run short. Returns whether it did.
fn lease_pages(sequence: &mut Sequence, running: &Running, cache: &mut KvCache) -> bool {
    sequence.take_lease(cache);
    let n_leased = sequence.lease.as_ref().map_or(0, |lease| cache.pages(lease).len());
    let n_needed = cache.pages_for(sequence.max_len.min(sequence.token_ids.len() + 1)) - n_leased;
    let fits = if running.is_empty() {
        n_needed <= cache.n_available()
    } else {
        // Reserve one page per running sequence, which may need it at any step.
        cache.admits(n_needed + running.len())
    };
    if !fits {
        sequence.release_lease(cache);
    }
    fits
}

/// Schedules a sequence's first chunk in this step, if rows, pages and states allow.
fn prefill_first_chunk(sequence: &mut Sequence, step: &mut Step, cache: &mut KvCache) {
    prefill::assign_chunk(sequence, &mut step.budget, cache);
    if sequence.reserve_rows(&mut step.copies, cache).is_err() {
        sequence.n_rows = 0;
    }
}
