//! The engine's thread: receive → schedule → submit → wait → sample → commit → answer. It alone changes sequences, cache and
//! executor; callers reach it by messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use sm_batching::{EndReason, Ended, Request, RequestId, Results, Scheduler, SequenceId};
use sm_cache::{KvCache, Namespace, SessionId, SessionMode, Turn, TurnEnd, TurnRequest};
use sm_kernels::plan::{ExecError, Executor};
use sm_tensor::TokenId;

use super::gate::Gate;
use super::live::{Live, Scratch, Terms};
use super::sample::{sample_drafted, sample_part, score_part};
use super::speculation::Speculator;
use crate::input::{Input, ModelBounds};
use crate::kv_disk::DiskTier;
use crate::text::{Text, TextStart};
use crate::{Error, FinishReason, MetricsSink, StepMetrics};

/// How long to wait where sequences run but no step can be made, because others hold the pages.
const STALL: Duration = Duration::from_millis(1);

/// What callers tell the engine.
pub(crate) enum Message {
    /// A request.
    Submit(Box<Submission>),
    /// A request was cancelled, or pages came from the disk.
    Wake,
    /// Something to be done between two steps.
    Call(Box<dyn FnOnce(&mut Core) + Send>),
}

/// A request as tokens.
pub(crate) struct Submission {
    pub(crate) terms: Terms,
    pub(crate) prompt: PromptTokens,
    pub(crate) priority: sm_batching::Priority,
    pub(crate) key: u64,
    pub(crate) session: Option<(SessionId, SessionMode)>,
    pub(crate) namespace: Arc<Namespace>,
}

/// A prompt as tokens; which of them hold is known when its session is looked up.
pub(crate) struct PromptTokens {
    /// Where it follows nothing.
    pub(crate) first: Vec<TokenId>,
    pub(crate) start: TextStart,
    /// Where it follows what a session has said, if that is different.
    pub(crate) appended: Option<Vec<TokenId>>,
}

/// What the thread owns.
pub(crate) struct Core {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) scheduler: Scheduler,
    pub(crate) cache: KvCache,
    live: HashMap<RequestId, Live>,
    text: Text,
    bounds: ModelBounds,
    gate: Arc<Gate>,
    pub(crate) speculator: Speculator,
    /// Where evicted pages go, if anywhere.
    pub(crate) disk: Option<DiskTier>,
    metrics: Option<Arc<dyn MetricsSink>>,
    results: Results,
    scratch: Scratch,
    ended: Vec<Ended>,
    cancelled: Vec<RequestId>,
    epoch: Instant,
    /// No new requests; the thread ends when those it has are over, or at the instant.
    drain_until: Option<Instant>,
}

/// The parts that [`Core::new`] is made of.
pub(crate) struct Parts {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) scheduler: Scheduler,
    pub(crate) cache: KvCache,
    pub(crate) text: Text,
    pub(crate) bounds: ModelBounds,
    pub(crate) gate: Arc<Gate>,
    pub(crate) speculator: Speculator,
    pub(crate) disk: Option<DiskTier>,
    pub(crate) metrics: Option<Arc<dyn MetricsSink>>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { executor, scheduler, cache, text, bounds, gate, speculator, disk, metrics } = parts;
        Self {
            executor,
            scheduler,
            cache,
            live: HashMap::new(),
            text,
            bounds,
            gate,
            speculator,
            disk,
            metrics,
            results: Results::new(),
            scratch: Scratch::default(),
            ended: Vec::new(),
            cancelled: Vec::new(),
            epoch: Instant::now(),
            drain_until: None,
        }
    }

    /// Serves until all callers are gone or the engine is drained. Whoever is left learns that it has shut down.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        let mut is_stalled = false;
        while self.receive(messages, is_stalled) {
            self.cancel_flagged();
            is_stalled = !self.step();
            self.answer_ended();
            self.gate.n_waiting.store(self.scheduler.n_waiting(), Ordering::Relaxed);
        }
        self.end_all();
        self.close_disk();
    }

    /// Begins to drain: nothing new is accepted, and what runs has until the instant.
    pub(crate) fn drain(&mut self, until: Instant) {
        self.drain_until = Some(until);
    }

    fn end_all(&mut self) {
        let ids: Vec<RequestId> = self.live.keys().copied().collect();
        for id in ids {
            if let Some(live) = self.live.get_mut(&id) {
                live.error.get_or_insert(Error::ShutDown);
            }
            self.scheduler.cancel(id, &mut self.cache);
        }
        self.answer_ended();
    }

    pub(super) fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Takes in what callers say; waits for it where there is nothing to do. `false` if it is time to go.
    fn receive(&mut self, messages: &Receiver<Message>, is_stalled: bool) -> bool {
        let mut is_woken = false;
        loop {
            match messages.try_recv() {
                Ok(message) => {
                    is_woken |= matches!(message, Message::Wake);
                    self.handle(message);
                }
                Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => break,
            }
        }
        if self.drain_until.is_some_and(|until| self.live.is_empty() || until <= Instant::now()) {
            return false;
        }
        let Some(wait) = self.idle_time(is_stalled).filter(|_| !is_woken) else {
            return true;
        };
        match messages.recv_timeout(wait) {
            Ok(message) => self.handle(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// How long nothing has to be done; `None` if there is something now.
    fn idle_time(&self, is_stalled: bool) -> Option<Duration> {
        const FOREVER: Duration = Duration::from_secs(3600);
        let wait = match self.scheduler.wake_at_us() {
            None => FOREVER,
            Some(at_us) => Duration::from_micros(at_us.saturating_sub(self.now_us())),
        };
        let wait = match self.drain_until {
            Some(until) => wait.min(until.saturating_duration_since(Instant::now())),
            None => wait,
        };
        let wait = if is_stalled && self.scheduler.n_running() > 0 { wait.max(STALL) } else { wait };
        (!wait.is_zero()).then_some(wait)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Submit(submission) => {
                self.gate.n_sent.fetch_sub(1, Ordering::Relaxed);
                self.submit(*submission);
            }
            Message::Wake => {}
            Message::Call(call) => call(self),
        }
    }

    fn submit(&mut self, submission: Submission) {
        let Submission { terms, prompt, priority, key, session, namespace } = submission;
        if self.drain_until.is_some() {
            return terms.answer.give(Err(Error::ShutDown));
        }
        let begun = self.begin(prompt, session.as_ref(), &namespace, &terms);
        let (input, turn) = match begun {
            Ok(begun) => begun,
            Err(error) => return terms.answer.give(Err(error)),
        };
        let submitted_us = terms.submitted.saturating_duration_since(self.epoch).as_micros() as u64;
        let deadline_us =
            terms.options.limits.max_time_ms.map(|ms| submitted_us.saturating_add(ms.saturating_mul(1000)));
        let n_candidates = terms.n as u32;
        let mut live = Live::new(terms, &input, &self.text);
        let max_new_tokens = live.max_new_tokens();
        let request = Request {
            turn,
            priority,
            key,
            max_new_tokens,
            n_candidates,
            deadline_us,
            prompt_logits: live.prompt_logits(),
            ..Request::new(input.tokens, namespace, max_new_tokens)
        };
        match self.scheduler.submit(request, submitted_us, &self.cache) {
            Ok(id) => _ = self.live.insert(id, live),
            Err((error, request)) => {
                if let Some(turn) = request.turn {
                    self.cache.end_turn(turn, None, TurnEnd::Rollback);
                }
                live.error = Some(error.into());
                live.give_answer();
            }
        }
    }

    /// The tokens to be continued, checked, and the turn on the request's session.
    fn begin(
        &mut self,
        prompt: PromptTokens,
        session: Option<&(SessionId, SessionMode)>,
        namespace: &Namespace,
        terms: &Terms,
    ) -> Result<(Input, Option<Turn>), Error> {
        let Some((session, mode)) = session else {
            return Ok((Input::new(prompt.first, prompt.start, &terms.options, &self.bounds)?, None));
        };
        let log = self.cache.session_log(session).unwrap_or_default();
        let tokens = match prompt.appended {
            Some(appended) if !log.is_empty() => appended,
            _ => prompt.first,
        };
        let context = match mode {
            SessionMode::Append => [log, &tokens].concat(),
            SessionMode::Prefix => tokens.clone(),
        };
        // Before the cache looks at it: a full context is to be told as one, not as a lack of pages.
        let input = Input::new(context, prompt.start, &terms.options, &self.bounds)?;
        if input.n_truncated > 0 && *mode == SessionMode::Append {
            let message = "cutting the head off would change what the session has said; raise it, or send the whole \
                           conversation in prefix mode";
            return Err(Error::validation("max_input_tokens", message));
        }
        let (turn, _) =
            self.cache.begin_turn(&TurnRequest { session, mode: *mode, namespace, tokens: &tokens })?;
        Ok((input, Some(turn)))
    }

    fn cancel_flagged(&mut self) {
        let flagged = self.live.iter().filter(|(_, live)| live.answer.ticket().cancel.is_cancelled());
        self.cancelled.extend(flagged.map(|(id, _)| *id));
        while let Some(id) = self.cancelled.pop() {
            self.scheduler.cancel(id, &mut self.cache);
        }
    }

    /// Makes one step; `false` if there is none to be made.
    fn step(&mut self) -> bool {
        let arrived = self.metrics.is_some().then(|| (Instant::now(), self.scheduler.stats()));
        self.fetch_pages();
        let Self { scheduler, cache, live, scratch, .. } = self;
        self.speculator.propose(scheduler, cache, live, scratch);
        let began = Instant::now();
        if self.scheduler.next_step(self.now_us(), &mut self.cache).is_none() {
            return false;
        }
        match self.execute() {
            Ok(()) => {
                let step_us = began.elapsed().as_micros() as u64;
                self.scheduler.commit(&self.results, step_us, &mut self.cache);
                self.cancel_failed();
            }
            Err(error) => self.isolate(&error),
        }
        if let (Some(metrics), Some((arrived, before))) = (&self.metrics, arrived) {
            let after = self.scheduler.stats();
            metrics.step(&StepMetrics {
                time: arrived.elapsed(),
                sequences: (after.spans - before.spans) as usize,
                rows: (after.rows - before.rows) as usize,
                draft_rows: (after.draft_rows - before.draft_rows) as usize,
                tokens: after.generated_tokens - before.generated_tokens,
                waiting: self.scheduler.n_waiting(),
            });
        }
        true
    }

    /// Computes the scheduler's step and samples from it.
    fn execute(&mut self) -> Result<(), ExecError> {
        let began = Instant::now();
        self.spill_pages();
        let step = self.scheduler.step();
        self.executor.copy_pages(step.copies())?;
        self.executor.submit(&step.batch())?;
        let mut logits = self.executor.wait()?;
        self.results.clear();
        for (index, part) in step.parts().iter().enumerate() {
            if let Some(live) = self.live.get_mut(&part.id.request) {
                live.start(part.start, began);
                let log = self.scheduler.log(part.id).unwrap_or_default();
                score_part(part, live, log, &logits, &mut self.scratch);
                let to = (&mut self.scratch, &mut self.results);
                match step.drafts(index) {
                    [] => sample_part(part, live, log, &mut logits, to),
                    drafts => {
                        let n_accepted = sample_drafted(part, (log, drafts), live, &mut logits, to);
                        self.speculator.stats.count(drafts.len(), n_accepted);
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends requests whose sampler failed.
    fn cancel_failed(&mut self) {
        self.cancelled.extend(self.live.iter().filter(|(_, live)| live.error.is_some()).map(|(id, _)| *id));
        while let Some(id) = self.cancelled.pop() {
            self.scheduler.cancel(id, &mut self.cache);
        }
    }

    /// After a step that failed: makes it again for each sequence alone, so that only the culprit fails.
    fn isolate(&mut self, error: &ExecError) {
        let ids: Vec<SequenceId> = self.scheduler.step().parts().iter().map(|part| part.id).collect();
        self.scheduler.abandon(&mut self.cache);
        if let [id] = ids[..] {
            return self.fail(id, error.clone());
        }
        for id in ids {
            if self.scheduler.next_step_of(id, &mut self.cache).is_none() {
                continue;
            }
            match self.execute() {
                Ok(()) => {
                    self.scheduler.commit(&self.results, 0, &mut self.cache);
                    self.cancel_failed();
                }
                Err(error) => {
                    self.scheduler.abandon(&mut self.cache);
                    self.fail(id, error);
                }
            }
        }
    }

    fn fail(&mut self, id: SequenceId, error: ExecError) {
        if let Some(live) = self.live.get_mut(&id.request) {
            live.error = Some(error.into());
        }
        self.scheduler.cancel(id.request, &mut self.cache);
    }

    /// Gives back what ended, and answers whose last candidate that was.
    fn answer_ended(&mut self) {
        self.ended.extend(self.scheduler.drain_ended());
        while let Some(ended) = self.ended.pop() {
            let id = ended.id.request;
            let Some(live) = self.live.get_mut(&id) else {
                continue;
            };
            let reason = match ended.reason {
                EndReason::Cache(error) => {
                    live.error.get_or_insert(error.into());
                    FinishReason::Cancelled
                }
                EndReason::TimedOut => FinishReason::Timeout,
                EndReason::Stopped | EndReason::Length | EndReason::Cancelled => FinishReason::Cancelled,
            };
            let first = ended.id.candidate as usize;
            let mut n_kept = ended.log.len();
            for candidate in first..first + ended.n_candidates as usize {
                n_kept = live.end(candidate, &ended.log, reason);
                self.speculator.release(SequenceId { request: id, candidate: candidate as u32 });
            }
            if let Some((turn, lease)) = ended.turn {
                let end = match live.is_rolled_back(live.finish_reason(first)) {
                    true => TurnEnd::Rollback,
                    false => TurnEnd::Commit(&ended.log[..n_kept]),
                };
                self.cache.end_turn(turn, lease, end);
            }
            if live.is_over()
                && let Some(live) = self.live.remove(&id)
            {
                if let Some(metrics) = &self.metrics {
                    metrics.request(&live.metrics());
                }
                live.give_answer();
            }
        }
    }

    /// Requests that wait or run.
    pub(crate) fn n_live(&self) -> usize {
        self.live.len()
    }
}
