//! One step: schedule, compute, sample, commit, and answer finished requests.

use std::time::Instant;

use sm_batching::{EndReason, SequenceId, Step};
use sm_cache::TurnEnd;
use sm_kernels::plan::ExecError;

use super::engine_loop::{Core, Over};
use super::log;
use super::sample::{sample_drafted, sample_part, score_part};
use crate::{FinishReason, StepMetrics, StepPhases};

impl Core {
    /// Runs one step; `false` if there is nothing to do.
    pub(super) fn step(&mut self) -> bool {
        let arrived = Instant::now();
        let before = self.scheduler.stats();
        self.fetch_pages();
        let Self { scheduler, cache, active, buffers, .. } = self;
        self.speculator.propose(scheduler, cache, active, buffers);
        let began = Instant::now();
        if self.scheduler.schedule(self.now_us(), &mut self.cache).is_none() {
            return false;
        }
        // Publish before any token is delivered: requests in the step no longer wait.
        self.tell_waiting();
        let plan = log::plan(self.scheduler.step(), &self.active);
        let mut phases = StepPhases { schedule: arrived.elapsed(), ..StepPhases::default() };
        match self.execute(&mut phases) {
            Ok(()) => {
                let computed = Instant::now();
                let step_us = computed.duration_since(began).as_micros() as u64;
                self.scheduler.commit(&self.results, step_us, &mut self.cache);
                self.advice.observe(&self.scheduler, step_us);
                self.cancel_failed();
                phases.commit = computed.elapsed();
            }
            Err(error) => self.recover(error),
        }
        let after = self.scheduler.stats();
        let step = StepMetrics {
            time: arrived.elapsed(),
            phases,
            sequences: (after.spans - before.spans) as usize,
            rows: (after.rows - before.rows) as usize,
            draft_rows: (after.draft_rows - before.draft_rows) as usize,
            tokens: after.generated_tokens - before.generated_tokens,
            waiting: self.scheduler.n_waiting(),
        };
        if let Some(plan) = plan {
            log::step(after.steps, &plan, &step);
        }
        if let Some(metrics) = &self.metrics {
            metrics.step(&step);
        }
        true
    }

    /// Computes the scheduled step and samples from it.
    fn execute(&mut self, phases: &mut StepPhases) -> Result<(), ExecError> {
        let began = Instant::now();
        self.spill_pages();
        self.compute()?;
        let step = self.scheduler.step();
        let output = &mut self.output;
        let computed = Instant::now();
        phases.compute = computed.duration_since(began);
        self.results.clear();
        for (index, part) in step.parts().iter().enumerate() {
            if let Some(active) = self.active.get_mut(&part.id.request) {
                active.start(part.start, began);
                active.report_part(part);
                let token_ids = self.scheduler.token_ids(part.id).unwrap_or_default();
                let buffers = &mut self.buffers;
                score_part(part, active, token_ids, output, buffers);
                let results = &mut self.results;
                match step.drafts(index) {
                    [] => sample_part(part, active, token_ids, output, buffers, results),
                    drafts => {
                        let n_accepted =
                            sample_drafted(part, token_ids, drafts, active, output, buffers, results);
                        self.speculator.stats.count(drafts.len(), n_accepted);
                    }
                }
            }
        }
        phases.sample = computed.elapsed();
        Ok(())
    }

    /// Computes the scheduled step, and submits the next one meanwhile if it is known.
    fn compute(&mut self) -> Result<(), ExecError> {
        let step = self.scheduler.step();
        self.ahead.submit(&mut *self.executor, step, &mut self.output)?;
        if self.executor.max_in_flight() > 1 && self.continues(step) {
            self.ahead.submit_next(&mut *self.executor, step);
        }
        let computed = self.executor.wait(&mut self.output);
        if computed.is_err() {
            self.ahead.discard(&mut *self.executor, &mut self.output);
        }
        computed
    }

    /// Whether only the sequence of the scheduled step can be in the next one, with the token that this one names.
    fn continues(&self, step: &Step) -> bool {
        let [part] = step.parts() else { return false };
        let Some(active) = self.active.get(&part.id.request) else { return false };
        self.scheduler.n_running() == 1
            && self.scheduler.n_waiting() == 0
            && part.n_choices == 1
            && !(self.speculator.is_enabled() && active.speculate)
            && self.scheduler.token_ids(part.id).is_some_and(|tokens| active.may_take_two(tokens.len()))
    }

    /// Cancels requests whose sampling failed.
    fn cancel_failed(&mut self) {
        self.cancelled
            .extend(self.active.iter().filter(|(_, active)| active.error.is_some()).map(|(id, _)| *id));
        while let Some(id) = self.cancelled.pop() {
            self.scheduler.cancel(id, &mut self.cache);
        }
    }

    /// Handles a failed step. After a lost device, or lost weights, no step can succeed, so the engine ends.
    fn recover(&mut self, error: ExecError) {
        if error.is_final() { self.lose_device(error) } else { self.isolate(&error) }
    }

    fn lose_device(&mut self, error: ExecError) {
        log::device_lost(&error);
        self.scheduler.abandon(&mut self.cache);
        self.device_lost = Some(error);
    }

    /// Retries a failed step for each sequence alone, so that only the culprit fails.
    fn isolate(&mut self, error: &ExecError) {
        log::step_failed(error);
        let ids: Vec<SequenceId> = self.scheduler.step().parts().iter().map(|part| part.id).collect();
        self.scheduler.abandon(&mut self.cache);
        if let [id] = ids[..] {
            return self.fail(id, error.clone());
        }
        for id in ids {
            if self.scheduler.schedule_alone(id, &mut self.cache).is_none() {
                continue;
            }
            match self.execute(&mut StepPhases::default()) {
                Ok(()) => {
                    self.scheduler.commit(&self.results, 0, &mut self.cache);
                    self.cancel_failed();
                }
                Err(error) if error.is_final() => return self.lose_device(error),
                Err(error) => {
                    self.scheduler.abandon(&mut self.cache);
                    self.fail(id, error);
                }
            }
        }
    }

    fn fail(&mut self, id: SequenceId, error: ExecError) {
        if let Some(active) = self.active.get_mut(&id.request) {
            active.error = Some(error.into());
        }
        self.scheduler.cancel(id.request, &mut self.cache);
    }

    /// Releases ended choices, publishes statistics, and answers requests whose last choice has ended.
    pub(super) fn answer_ended(&mut self) {
        self.ended.extend(self.scheduler.drain_ended());
        while let Some(ended) = self.ended.pop() {
            let id = ended.id.request;
            let Some(active) = self.active.get_mut(&id) else {
                continue;
            };
            let reason = match ended.reason {
                EndReason::Cache(error) => {
                    active.error.get_or_insert(error.into());
                    FinishReason::Cancelled
                }
                EndReason::TimedOut => FinishReason::Timeout,
                EndReason::Stopped | EndReason::Length | EndReason::Cancelled => FinishReason::Cancelled,
            };
            let first = ended.id.choice as usize;
            let mut n_kept = ended.token_ids.len();
            for choice in first..first + ended.n_choices as usize {
                n_kept = active.end(choice, &ended.token_ids, reason);
                self.speculator.release(SequenceId { request: id, choice: choice as u32 });
            }
            if let Some((turn, lease)) = ended.turn {
                let end = match active.is_rolled_back(active.finish_reason(first)) {
                    true => TurnEnd::Rollback,
                    false => {
                        active.has_spoken();
                        TurnEnd::Commit(&ended.token_ids[..n_kept])
                    }
                };
                self.cache.end_turn(turn, lease, end);
            }
            if active.is_over()
                && let Some(active) = self.active.remove(&id)
            {
                self.over.push(Over::Ended(Box::new(active)));
            }
        }
        self.publish();
        self.answer();
    }
}
