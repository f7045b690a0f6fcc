//! The scheduler as an engine sees it.

use sm_cache::{KvCache, KvHandle};

use crate::adaptive::AdaptiveController;
use crate::config::{BatchingConfig, StepLimits};
use crate::cost::CostModel;
use crate::error::{BatchingError, QueueLimit};
use crate::fairness::Fairness;
use crate::hold::Hold;
use crate::policy::{BatchInfo, BatchPolicy, Waiting};
use crate::queue::Queue;
use crate::sequence::{EndReason, Ended, PromptLogits, Request, RequestId, Sequence, SequenceId};
use crate::stats::BatchingStats;
use crate::step::Step;
use sm_tensor::TokenId;

/// A sequence that has one token to compute: drafts may follow it.
#[derive(Clone, Copy, Debug)]
pub struct Decoding<'a> {
    /// The sequence.
    pub id: SequenceId,
    /// The prompt and what was generated.
    pub token_ids: &'a [TokenId],
    /// Drafts that it may have beside the token that its step gives in any case.
    pub max_drafts: usize,
}

/// Decides what each step computes. One thread owns it, the cache and the executor; all times are passed in, in µs.
#[derive(Debug)]
pub struct Scheduler {
    pub(crate) config: BatchingConfig,
    pub(crate) limits: StepLimits,
    pub(crate) policy: Box<dyn BatchPolicy>,
    /// If the batch size adapts.
    pub(crate) adaptive: Option<AdaptiveController>,
    pub(crate) queue: Queue,
    /// The best first: by the level at which they were admitted, then by arrival.
    pub(crate) running: Vec<Sequence>,
    pub(crate) fairness: Fairness,
    pub(crate) cost: CostModel,
    pub(crate) step: Step,
    pub(crate) ended: Vec<Ended>,
    pub(crate) stats: BatchingStats,
    pub(crate) last_batch: BatchInfo,
    /// Indices of waiting requests, in order; kept to allocate nothing.
    pub(crate) order: Vec<usize>,
    pub(crate) lens: Vec<Waiting>,
    pub(crate) chosen: Vec<usize>,
    n_requests: u64,
}

impl Scheduler {
    /// A scheduler for an executor of these limits.
    ///
    /// # Errors
    /// If a value cannot be used.
    pub fn new(config: BatchingConfig, limits: StepLimits) -> Result<Self, BatchingError> {
        config.validate_with(&limits)?;
        for (field, value) in [
            ("max_tokens", limits.max_tokens),
            ("max_outputs", limits.max_outputs),
            ("max_sequences", limits.max_sequences),
            ("row_group", limits.row_group),
        ] {
            if value == 0 {
                return Err(BatchingError::InvalidConfig { field, value: 0, reason: "must be at least 1" });
            }
        }
        Ok(Self {
            policy: config.policy(limits.memory),
            adaptive: controller(&config, &limits),
            config,
            limits,
            queue: Queue::default(),
            running: Vec::new(),
            fairness: Fairness::default(),
            cost: CostModel::new(limits.row_group),
            step: Step::new(&limits),
            ended: Vec::new(),
            stats: BatchingStats::default(),
            last_batch: BatchInfo::default(),
            order: Vec::new(),
            lens: Vec::new(),
            chosen: Vec::new(),
            n_requests: 0,
        })
    }

    /// Changes the configuration from the next step on. Sequences that run stay, even if they are too many now.
    ///
    /// # Errors
    /// If a value cannot be used, or is raised beyond the sequences or rows that the executor's steps can have; nothing changes
    /// then.
    pub fn reconfigure(&mut self, config: BatchingConfig) -> Result<(), BatchingError> {
        config.validate_with(&self.limits)?;
        let StepLimits { max_tokens, max_outputs, max_sequences, memory, .. } = self.limits;
        let most_sequences = max_sequences.min(max_outputs);
        for (field, value, before, most) in [
            ("max_batch_size", config.max_batch_size, self.config.max_batch_size, most_sequences),
            ("max_step_tokens", config.max_step_tokens, self.config.max_step_tokens, max_tokens),
        ] {
            // What the scheduler began with holds as far as the executor goes.
            if value > most.max(before) {
                let (value, most) = (value as u64, most as u64);
                return Err(BatchingError::BeyondExecutor { field, value, most });
            }
        }
        self.policy = config.policy(memory);
        self.adaptive = controller(&config, &self.limits);
        self.config = config;
        Ok(())
    }

    /// Puts a request into the queue.
    ///
    /// # Errors
    /// If a limit is met, or the request can never run; a turn comes back with the error.
    #[expect(clippy::result_large_err, reason = "the request comes back so that a turn can be ended")]
    pub fn submit(
        &mut self,
        request: Request,
        now_us: u64,
        cache: &KvCache,
    ) -> Result<RequestId, (BatchingError, Request)> {
        if let Err(error) = self.check(&request, cache) {
            return Err((error, request));
        }
        let id = RequestId(self.n_requests);
        self.n_requests += 1;
        let key = self.fairness.enter(request.key);
        let n_prompt = request.prompt.len();
        let max_len = n_prompt + request.max_new_tokens;
        let mut token_ids = request.prompt;
        token_ids.reserve_exact(request.max_new_tokens);
        let page_keys = if shares(cache) {
            cache.page_keys(&request.namespace, &token_ids).collect()
        } else {
            Vec::new()
        };
        self.queue.push(Sequence {
            id: SequenceId { request: id, choice: 0 },
            n_choices: request.n_choices,
            token_ids,
            n_prompt,
            max_len,
            drafts: Vec::new(),
            namespace: request.namespace,
            turn: request.turn,
            lease: None,
            priority: request.priority,
            level: request.priority,
            key,
            arrival_us: now_us,
            round: self.stats.steps,
            deadline_us: request.deadline_us,
            n_scored: (request.prompt_logits == PromptLogits::All).then_some(0),
            page_keys,
            n_lost: None,
            n_rows: 0,
            last_step: 0,
            hold: Hold::default(),
        });
        Ok(id)
    }

    fn check(&self, request: &Request, cache: &KvCache) -> Result<(), BatchingError> {
        let n_prompt = request.prompt.len();
        if n_prompt == 0 {
            return Err(BatchingError::EmptyPrompt);
        }
        if request.n_choices == 0
            || (request.max_new_tokens == 0 && request.prompt_logits == PromptLogits::Last)
        {
            return Err(BatchingError::NothingToDo);
        }
        let (limit, actual) = (self.batch_size() as u64, u64::from(request.n_choices));
        if actual > limit {
            return Err(BatchingError::ResourceLimit { resource: QueueLimit::Choices, limit, actual });
        }
        let max_len = n_prompt.saturating_add(request.max_new_tokens);
        let n_choices = request.n_choices as usize;
        self.policy.check(&Waiting { len: n_prompt, max_len, n_choices })?;
        // Positions are counted in 32 bits.
        let fits = u32::try_from(max_len).is_ok();
        cache.check_fits(if fits { cache.pages_for(max_len) } else { usize::MAX })?;
        self.queue.check(n_prompt, &self.config)
    }

    /// Cancels a request: at once if it waits, else before the next step. Its sequences come out of
    /// [`Scheduler::drain_ended`]. Gives whether there was one. Not to be called between a step and its commit.
    pub fn cancel(&mut self, request: RequestId, cache: &mut KvCache) -> bool {
        self.end_where(cache, |sequence| (sequence.id.request == request).then_some(EndReason::Cancelled)) > 0
    }

    /// Ends one sequence, for instance one whose sampler failed; otherwise as [`Scheduler::cancel`].
    pub fn cancel_sequence(&mut self, id: SequenceId, cache: &mut KvCache) -> bool {
        self.end_where(cache, |sequence| (sequence.id == id).then_some(EndReason::Cancelled)) > 0
    }

    /// Ends all sequences that `reason` has a reason for; gives their number.
    pub(crate) fn end_where(
        &mut self,
        cache: &mut KvCache,
        reason: impl Fn(&Sequence) -> Option<EndReason>,
    ) -> usize {
        let before = self.ended.len();
        for index in (0..self.queue.len()).rev() {
            if let Some(reason) = reason(&self.queue.waiting()[index]) {
                let sequence = self.queue.swap_remove(index);
                self.end(sequence, reason, cache);
            }
        }
        for index in (0..self.running.len()).rev() {
            if let Some(reason) = reason(&self.running[index]) {
                let sequence = self.running.remove(index);
                self.end(sequence, reason, cache);
            }
        }
        self.ended.len() - before
    }

    pub(crate) fn end(&mut self, sequence: Sequence, reason: EndReason, cache: &mut KvCache) {
        self.fairness.leave(sequence.key);
        self.stats.count_end(&reason);
        self.ended.push(sequence.end(reason, cache));
    }

    /// The sequences that have one token to compute, for which drafts may be proposed.
    pub fn decoding<'a>(&'a self, cache: &'a KvCache) -> impl Iterator<Item = Decoding<'a>> {
        let decoding = self.running.iter().filter(|s| s.n_choices == 1 && s.remaining(cache) == 1);
        decoding.map(|s| Decoding { id: s.id, token_ids: &s.token_ids, max_drafts: s.max_drafts() })
    }

    /// Proposes what may follow a sequence's tokens, to be checked in its next step; forgotten after it. Kept are as many as
    /// the sequence may still generate. Does nothing if it does not run.
    pub fn propose(&mut self, id: SequenceId, drafts: &[TokenId]) {
        if let Some(sequence) = self.running.iter_mut().find(|sequence| sequence.id == id) {
            let n_drafts = drafts.len().min(sequence.max_drafts());
            sequence.drafts.clear();
            sequence.drafts.extend_from_slice(&drafts[..n_drafts]);
        }
    }

    /// The sequences that ended since the last call.
    pub fn drain_ended(&mut self) -> impl Iterator<Item = Ended> {
        self.ended.drain(..)
    }

    /// When [`Scheduler::next_step`] has to be called at the latest though nothing happens: to begin a batch, or to end
    /// what is late. `None` if nothing runs, and what waits is held back and has no deadline.
    pub fn wake_at_us(&self) -> Option<u64> {
        if !self.running.is_empty() {
            return Some(0);
        }
        let deadline = self.queue.waiting().iter().filter_map(|sequence| sequence.deadline_us).min();
        let due = self.due_us();
        deadline.into_iter().chain(due).min()
    }

    /// When an idle engine begins a batch of those who are not held back.
    pub(crate) fn due_us(&self) -> Option<u64> {
        let waiting = self.queue.waiting().iter().filter(|sequence| sequence.hold != Hold::Held);
        let is_full = waiting.clone().count() >= self.current_batch_size()
            || waiting.clone().any(|sequence| sequence.n_lost.is_some());
        let oldest = waiting.map(|sequence| sequence.arrival_us).min()?;
        Some(if is_full { 0 } else { oldest.saturating_add(self.config.wait_us()) })
    }

    /// Sequences that may run at a time, at most.
    pub fn batch_size(&self) -> usize {
        self.config.batch_size(&self.limits)
    }

    /// Sequences that may run at a time now, as far as the batch size adapts.
    pub fn current_batch_size(&self) -> usize {
        self.adaptive.as_ref().map_or_else(|| self.batch_size(), AdaptiveController::batch_size)
    }

    /// Sequences that run, those that share a prompt counted once each.
    pub fn n_running(&self) -> usize {
        self.running.iter().map(|sequence| sequence.n_choices as usize).sum()
    }

    /// Requests that wait.
    pub fn n_waiting(&self) -> usize {
        self.queue.len()
    }

    /// Tokens of the requests that wait.
    pub fn n_waiting_tokens(&self) -> usize {
        self.queue.n_tokens()
    }

    /// The tokens of a sequence that waits or runs.
    pub fn token_ids(&self, id: SequenceId) -> Option<&[TokenId]> {
        let mut all = self.running.iter().chain(self.queue.waiting());
        all.find(|sequence| sequence.id == id).map(|sequence| sequence.token_ids.as_slice())
    }

    /// The step that was made last, until it is committed or abandoned; empty then.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// What has been done so far.
    pub fn stats(&self) -> BatchingStats {
        self.stats
    }

    /// The batch that was formed last.
    pub fn last_batch(&self) -> BatchInfo {
        self.last_batch
    }

    /// What steps cost.
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// The configuration.
    pub fn config(&self) -> &BatchingConfig {
        &self.config
    }

    /// All leases that it holds, for [`KvCache::check_leases`].
    pub fn leases(&self) -> impl Iterator<Item = &KvHandle> {
        let ended = self.ended.iter().filter_map(|ended| ended.turn.as_ref()?.1.as_ref());
        self.running.iter().filter_map(|sequence| sequence.lease.as_ref()).chain(ended)
    }
}

/// What adapts the batch size, from its maximum on.
fn controller(config: &BatchingConfig, limits: &StepLimits) -> Option<AdaptiveController> {
    let max = config.batch_size(limits);
    config.adaptive.then(|| AdaptiveController::new(max, max, config.target_itl_us))
}

/// Whether requests find each other's pages.
pub(crate) fn shares(cache: &KvCache) -> bool {
    cache.config().enabled && cache.config().prefix_sharing
}
