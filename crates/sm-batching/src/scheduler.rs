//! The scheduler: decides what each step computes.

use sm_cache::{KvCache, KvHandle};
use sm_tensor::TokenId;

use crate::admission::{Admission, shares_prefixes};
use crate::budget::StepBudget;
use crate::commit::Commit;
use crate::config::{BatchingConfig, StepLimits};
use crate::cost::CostModel;
use crate::decode;
use crate::error::{BatchingError, QueueLimit};
use crate::policy::{BatchInfo, RequestShape};
use crate::preemption;
use crate::prefill;
use crate::queue::RankBy;
use crate::request::{EndReason, Ended, PrefetchRequest, PromptOutputs, Request, RequestId, SequenceId};
use crate::results::Results;
use crate::sequence::{Prefetch, Sequence};
use crate::sequences::Sequences;
use crate::stats::BatchingStats;
use crate::step::{Step, StepPart};

/// A decoding sequence, for which drafts may be proposed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct DecodingSequence<'a> {
    /// The sequence.
    pub id: SequenceId,
    /// The prompt and the output.
    pub token_ids: &'a [TokenId],
    /// Maximum number of useful drafts: a step yields one token in any case.
    pub max_drafts: usize,
}

/// Decides what each step computes. One thread owns it, the cache and the executor. Times are passed in, in µs.
///
/// See the [crate's documentation](crate) for an example.
#[derive(Debug)]
pub struct Scheduler {
    config: BatchingConfig,
    limits: StepLimits,
    sequences: Sequences,
    admission: Admission,
    cost: CostModel,
    step: Step,
}

impl Scheduler {
    /// A scheduler for an executor with these limits.
    ///
    /// # Errors
    /// If a value is invalid.
    pub fn new(config: BatchingConfig, limits: StepLimits) -> Result<Self, BatchingError> {
        config.validate_with(&limits)?;
        limits.validate()?;
        Ok(Self {
            sequences: Sequences::default(),
            admission: Admission::new(&config, &limits),
            cost: CostModel::new(limits.row_group),
            step: Step::new(&limits),
            config,
            limits,
        })
    }

    /// Changes the configuration from the next step on. Running sequences continue, even if there are now too many.
    ///
    /// # Errors
    /// If a value is invalid or raised beyond the executor's limits. Nothing changes then.
    pub fn reconfigure(&mut self, config: BatchingConfig) -> Result<(), BatchingError> {
        config.validate_change(&self.config, &self.limits)?;
        self.admission.reconfigure(&config, &self.limits);
        self.config = config;
        Ok(())
    }

    /// Adds a request to the queue.
    ///
    /// # Errors
    /// If a limit is exceeded or the request can never run. Returns the request with the error, so that its turn can be
    /// ended.
    #[expect(clippy::result_large_err, reason = "the request is returned so that its turn can be ended")]
    pub fn submit(
        &mut self,
        request: Request,
        now_us: u64,
        cache: &KvCache,
    ) -> Result<(), (BatchingError, Request)> {
        if let Err(error) = self.check(&request, cache) {
            return Err((error, request));
        }
        let client = self.sequences.fairness.enter(request.client);
        let page_keys = if shares_prefixes(cache) {
            cache.page_keys(&request.namespace, &request.prompt).collect()
        } else {
            Vec::new()
        };
        self.sequences.waiting.push(Sequence {
            arrival_us: now_us,
            arrival_step: self.sequences.stats.steps,
            ..Sequence::new(request, client, page_keys)
        });
        Ok(())
    }

    fn check(&self, request: &Request, cache: &KvCache) -> Result<(), BatchingError> {
        let prompt_len = request.prompt.len();
        if prompt_len == 0 {
            return Err(BatchingError::EmptyPrompt);
        }
        if request.n_choices == 0
            || (request.max_new_tokens == 0 && request.prompt_outputs == PromptOutputs::Last)
        {
            return Err(BatchingError::NothingToDo);
        }
        if request.prompt_outputs.are_hidden() && (request.max_new_tokens > 0 || request.n_choices > 1) {
            return Err(BatchingError::HiddenOnly);
        }
        if self.sequences.iter().any(|sequence| sequence.id.request == request.id) {
            return Err(BatchingError::DuplicateId { id: request.id });
        }
        let limit = self.batch_size() as u64;
        let actual = u64::from(request.n_choices);
        if actual > limit {
            return Err(BatchingError::ResourceLimit { resource: QueueLimit::Choices, limit, actual });
        }
        let max_len = prompt_len.saturating_add(request.max_new_tokens);
        let n_choices = request.n_choices as usize;
        self.admission.policy().check(&RequestShape { prompt_len, max_len, n_choices })?;
        // Positions are 32-bit.
        let is_countable = u32::try_from(max_len).is_ok();
        cache.check_fits(if is_countable { cache.pages_for(max_len) } else { usize::MAX })?;
        self.sequences.waiting.check(prompt_len, &self.config)
    }

    /// The next step; `None` if there is nothing to do before [`Scheduler::wake_at_us`]. First ends sequences past their
    /// deadline.
    ///
    /// Each step must be followed by [`Scheduler::commit`] or [`Scheduler::abandon`].
    pub fn schedule(&mut self, now_us: u64, cache: &mut KvCache) -> Option<&Step> {
        self.sequences.end_where(cache, |sequence, cache| sequence.overdue(now_us, cache));
        self.step.begin(StepBudget::new(&self.config, &self.limits));
        let running = &mut self.sequences.running;
        let budget = &mut self.step.budget;
        running.clear_rows();

        // Decode rows, and drafts.
        let has_prefill = running.has_prefill(cache);
        let max_decoding = self.admission.max_decoding(has_prefill);
        if max_decoding < running.len() {
            decode::assign_rows_in_turn(running, max_decoding, budget, cache);
        } else {
            decode::assign_rows(running, budget, cache);
            // Drafts may be rejected, so leave half of the step to prompts, if there are any.
            let has_prompts = has_prefill || !self.sequences.waiting.is_empty();
            let max_drafts = if has_prompts { budget.tokens / 2 } else { budget.tokens };
            decode::assign_drafts(running, max_drafts, budget);
        }

        // Prefill chunks in the remaining rows.
        prefill::limit_rows(budget, self.config.target_itl_us, running, &self.cost, cache);
        prefill::assign_chunks(running, budget, cache);

        // Pages for these rows, preempting if necessary; then new requests, unless there was preemption.
        let n_preempted = self.sequences.stats.preempted;
        preemption::reserve_rows(&mut self.sequences, &mut self.step.copies, cache);
        if self.sequences.stats.preempted == n_preempted {
            self.admission.admit(&mut self.sequences, &mut self.step, &self.config, now_us, cache);
        }
        self.build_step(cache)
    }

    /// As [`Scheduler::schedule`], for one running sequence alone, to find out whose rows made a step fail.
    pub fn schedule_alone(&mut self, id: SequenceId, cache: &mut KvCache) -> Option<&Step> {
        self.step.begin(StepBudget::default());
        self.sequences.running.clear_rows();
        let max_rows = self.limits.max_tokens.min(self.limits.max_outputs);
        if let Some(index) = self.sequences.running.position(id) {
            let sequence = self.sequences.running.get_mut(index);
            let has_drafts = sequence.n_choices == 1 && sequence.is_decoding(cache);
            let n_drafts = if has_drafts { sequence.drafts.len() } else { 0 };
            sequence.n_rows = (sequence.remaining(cache) + n_drafts).min(max_rows);
        }
        preemption::reserve_rows(&mut self.sequences, &mut self.step.copies, cache);
        self.build_step(cache)
    }

    /// Builds the step from the assigned rows.
    fn build_step(&mut self, cache: &KvCache) -> Option<&Step> {
        let Sequences { running, stats, .. } = &mut self.sequences;
        let starts_prefill = running.iter().any(|s| s.n_rows > 0 && s.is_prefilling(cache));
        if starts_prefill && self.admission.max_decoding(starts_prefill) == 0 {
            let decoding = running.iter_mut().filter(|sequence| sequence.is_decoding(cache));
            decoding.for_each(|sequence| sequence.n_rows = 0);
        }
        for sequence in running.iter_mut().filter(|sequence| sequence.n_rows > 0) {
            self.step.push(sequence, cache);
            sequence.last_step = stats.steps + 1;
        }
        if self.step.parts().is_empty() {
            return None;
        }
        stats.steps += 1;
        stats.rows += self.step.n_rows() as u64;
        stats.spans += self.step.parts().len() as u64;
        stats.draft_rows += self.step.n_draft_rows();
        Some(&self.step)
    }

    /// Commits a computed step. `results` has [`StepPart::n_results`] entries per part, in the order of [`Step::parts`].
    /// `step_us` is the step's duration, or 0 if the cost model should not learn from it.
    ///
    /// Ended sequences are returned by [`Scheduler::drain_ended`]; their slots are free for the next step.
    ///
    /// # Panics
    /// If the number of results does not match the step.
    pub fn commit(&mut self, results: &Results, step_us: u64, cache: &mut KvCache) {
        let n_expected: usize = self.step.parts().iter().map(StepPart::n_results).sum();
        assert!(results.len() == n_expected, "{} results of a step that has {n_expected}", results.len());
        if step_us > 0 && self.step.n_rows() > 0 {
            self.cost.observe(step_us, self.step.n_rows(), self.step.context());
            self.admission.observe_step(step_us, cache);
        }
        let sequences = &mut self.sequences;
        Commit { sequences, results, config: &self.config, cache }.parts(self.step.parts());
        self.step.clear();
    }

    /// Discards a failed step: its rows count as not computed.
    pub fn abandon(&mut self, cache: &mut KvCache) {
        self.sequences.stats.abandoned_steps += 1;
        for sequence in self.sequences.running.iter_mut().filter(|sequence| sequence.n_rows > 0) {
            sequence.abandon_rows(cache);
        }
        self.step.clear();
    }

    /// Cancels a request: immediately if queued, otherwise before the next step. Its sequences are returned by
    /// [`Scheduler::drain_ended`]. Returns whether it existed. Must not be called between a step and its commit.
    pub fn cancel(&mut self, request: RequestId, cache: &mut KvCache) -> bool {
        let is_of_request = |s: &Sequence| s.id.request == request;
        self.sequences.end_where(cache, |s, _| is_of_request(s).then_some(EndReason::Cancelled)) > 0
    }

    /// As [`Scheduler::cancel`], for one sequence, for example if its sampler failed.
    pub fn cancel_sequence(&mut self, id: SequenceId, cache: &mut KvCache) -> bool {
        self.sequences.end_where(cache, |s, _| (s.id == id).then_some(EndReason::Cancelled)) > 0
    }

    /// The sequences that ended since the last call.
    pub fn drain_ended(&mut self) -> impl Iterator<Item = Ended> {
        self.sequences.ended.drain(..)
    }

    /// The decoding sequences, for which drafts may be proposed.
    pub fn decoding<'a>(&'a self, cache: &'a KvCache) -> impl Iterator<Item = DecodingSequence<'a>> {
        let running = self.sequences.running.iter();
        running.filter(|s| s.n_choices == 1 && s.is_decoding(cache)).map(|s| DecodingSequence {
            id: s.id,
            token_ids: &s.token_ids,
            max_drafts: s.max_drafts(),
        })
    }

    /// Proposes drafts for a sequence, to be verified in the next step and then dropped. Keeps at most as many as the
    /// sequence may still generate. Does nothing if it is not running.
    pub fn propose(&mut self, id: SequenceId, drafts: &[TokenId]) {
        if let Some(index) = self.sequences.running.position(id) {
            let sequence = self.sequences.running.get_mut(index);
            let n_drafts = drafts.len().min(sequence.max_drafts());
            sequence.drafts.clear();
            sequence.drafts.extend_from_slice(&drafts[..n_drafts]);
        }
    }

    /// Calls `begin` once for each request that may be admitted soon, in service order. `begin` starts fetching the
    /// request's pages from a slower tier and returns whether there are any. If so, the request keeps its place in the
    /// queue but is not admitted before [`Scheduler::finish_prefetch`].
    pub fn begin_prefetch(
        &mut self,
        now_us: u64,
        cache: &KvCache,
        mut begin: impl FnMut(PrefetchRequest<'_>) -> bool,
    ) {
        let Sequences { waiting, running, fairness, .. } = &mut self.sequences;
        if waiting.iter().all(|sequence| sequence.prefetch != Prefetch::Unasked) {
            return;
        }
        let by = RankBy { config: &self.config, fairness, cache, now_us };
        for index in self.admission.upcoming(waiting, running, by) {
            let sequence = waiting.get_mut(*index);
            if sequence.prefetch == Prefetch::Unasked {
                let is_pending = begin(sequence.prefetch_request());
                sequence.prefetch = if is_pending { Prefetch::Pending } else { Prefetch::Done };
            }
        }
    }

    /// Makes a request admissible after its prefetch succeeded or failed. Does nothing if none is pending.
    pub fn finish_prefetch(&mut self, id: SequenceId) {
        self.set_prefetch(id, Prefetch::Done);
    }

    /// As [`Scheduler::finish_prefetch`], but lets [`Scheduler::begin_prefetch`] request its pages again.
    pub fn retry_prefetch(&mut self, id: SequenceId) {
        self.set_prefetch(id, Prefetch::Unasked);
    }

    fn set_prefetch(&mut self, id: SequenceId, prefetch: Prefetch) {
        if let Some(sequence) = self.sequences.waiting.prefetching_mut(id) {
            sequence.prefetch = prefetch;
        }
    }

    /// The latest time to call [`Scheduler::schedule`] without other events, to start a batch or end overdue requests.
    /// `None` if nothing is running and all queued requests are prefetching and have no deadline.
    pub fn wake_at_us(&self) -> Option<u64> {
        if !self.sequences.running.is_empty() {
            return Some(0);
        }
        let waiting = &self.sequences.waiting;
        let deadline_us = waiting.iter().filter_map(|sequence| sequence.deadline_us).min();
        let due_us = self.admission.due_us(waiting, &self.config);
        deadline_us.into_iter().chain(due_us).min()
    }

    /// Maximum number of running sequences.
    pub fn batch_size(&self) -> usize {
        self.admission.max_batch_size()
    }

    /// Maximum number of running sequences now, if the batch size adapts.
    pub fn current_batch_size(&self) -> usize {
        self.admission.batch_size()
    }

    /// Number of running sequences; choices that still share a prompt count individually.
    pub fn n_running(&self) -> usize {
        self.sequences.running.n_choices()
    }

    /// Number of queued requests.
    pub fn n_waiting(&self) -> usize {
        self.sequences.waiting.len()
    }

    /// Total tokens of the queued requests.
    pub fn n_waiting_tokens(&self) -> usize {
        self.sequences.waiting.n_tokens()
    }

    /// The tokens of a queued or running sequence.
    pub fn token_ids(&self, id: SequenceId) -> Option<&[TokenId]> {
        let sequence = self.sequences.iter().find(|sequence| sequence.id == id);
        sequence.map(|sequence| sequence.token_ids.as_slice())
    }

    /// The current step; empty once committed or abandoned.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Counters so far.
    pub fn stats(&self) -> BatchingStats {
        self.sequences.stats
    }

    /// The last batch formed.
    pub fn last_batch(&self) -> BatchInfo {
        self.admission.last_batch()
    }

    /// The cost model.
    pub fn cost(&self) -> &CostModel {
        &self.cost
    }

    /// The configuration.
    pub fn config(&self) -> &BatchingConfig {
        &self.config
    }

    /// All leases it holds, for [`KvCache::check_leases`].
    pub fn leases(&self) -> impl Iterator<Item = &KvHandle> {
        let running = self.sequences.running.iter().filter_map(|sequence| sequence.lease.as_ref());
        running.chain(self.sequences.ended.iter().filter_map(|ended| ended.turn.as_ref()?.1.as_ref()))
    }
}
