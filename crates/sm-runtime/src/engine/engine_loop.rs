//! The engine's thread: receive → schedule → submit → wait → sample → commit → answer. Only this thread modifies
//! sequences, cache and executor; callers send it messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use sm_batching::{Ended, Request, RequestId, Results, Scheduler};
use sm_cache::{CacheError, KvCache, Namespace, SessionId, SessionMode, Turn, TurnEnd, TurnRequest};
use sm_kernels::plan::{ExecError, Executor, StepOutput};
use sm_tensor::PageId;

use super::active_request::{ActiveRequest, SamplingBuffers};
use super::admission::{Admission, EngineEnd};
use super::advice::Advice;
use super::ahead::Ahead;
use super::guard::{GuardedSink, LostEvents};
use super::log;
use super::prompt_tokens::PromptTokens;
use super::reply::Replier;
use super::request_params::RequestParams;
use super::speculation::Speculator;
use super::stats::EngineStats;
use super::submission::Submission;
use crate::clock::Clock;
use crate::input::{Input, ModelBounds};
use crate::kv_disk::DiskTier;
use crate::text::Text;
use crate::{Error, RequestMetrics};

/// Wait when sequences are running but no step is possible because others hold the pages.
const STALL: Duration = Duration::from_millis(1);

/// A message from a caller to the engine.
pub(crate) enum Message {
    /// A new request.
    Submit(Box<Submission>),
    /// A request was cancelled, or pages arrived from disk.
    Wake,
    /// A closure to run between two steps.
    Call(Box<dyn FnOnce(&mut Core) + Send>),
}

/// The state owned by the engine's thread.
pub(crate) struct Core {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) scheduler: Scheduler,
    pub(crate) cache: KvCache,
    pub(super) active: HashMap<RequestId, ActiveRequest>,
    text: Text,
    pub(crate) bounds: ModelBounds,
    pub(crate) admission: Arc<Admission>,
    pub(crate) speculator: Speculator,
    /// Disk tier for evicted pages.
    pub(crate) disk: Option<DiskTier>,
    pub(super) metrics: Option<GuardedSink>,
    lost_events: LostEvents,
    pub(super) output: StepOutput,
    pub(super) ahead: Ahead,
    pub(super) results: Results,
    pub(super) buffers: SamplingBuffers,
    pub(super) ended: Vec<Ended>,
    pub(super) cancelled: Vec<RequestId>,
    /// Finished requests not yet answered.
    pub(super) over: Vec<Over>,
    pub(crate) advice: Advice,
    pub(super) clock: Clock,
    epoch: Instant,
    /// When set, new requests are rejected, and the thread ends when the others are over or at this instant.
    drain_until: Option<Instant>,
    /// The error that ended the engine, if its device was lost.
    pub(super) device_lost: Option<ExecError>,
    /// Callers waiting for the thread to end. Dropped last, after everything else the thread owned.
    pub(crate) waiting_for_end: Vec<Replier<()>>,
}

/// A finished request.
pub(super) enum Over {
    /// Accepted and ended.
    Ended(Box<ActiveRequest>),
    /// Rejected.
    Refused { params: Box<RequestParams>, error: Error },
}

/// Arguments of [`Core::new`].
pub(crate) struct Parts {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) scheduler: Scheduler,
    pub(crate) cache: KvCache,
    pub(crate) text: Text,
    pub(crate) bounds: ModelBounds,
    pub(crate) admission: Arc<Admission>,
    pub(crate) speculator: Speculator,
    pub(crate) disk: Option<DiskTier>,
    pub(crate) metrics: Option<GuardedSink>,
    pub(crate) lost_events: LostEvents,
    pub(crate) clock: Clock,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            executor,
            scheduler,
            cache,
            text,
            bounds,
            admission,
            speculator,
            disk,
            metrics,
            lost_events,
            clock,
        } = parts;
        let advice = Advice::new(scheduler.batch_size());
        Self {
            executor,
            scheduler,
            cache,
            active: HashMap::new(),
            text,
            bounds,
            admission,
            speculator,
            disk,
            metrics,
            lost_events,
            output: StepOutput::new(),
            ahead: Ahead::default(),
            results: Results::new(),
            buffers: SamplingBuffers::default(),
            ended: Vec::new(),
            cancelled: Vec::new(),
            over: Vec::new(),
            advice,
            epoch: clock.now(),
            clock,
            drain_until: None,
            device_lost: None,
            waiting_for_end: Vec::new(),
        }
    }

    /// Runs until all callers are gone or the engine is drained. Remaining callers get [`Error::ShutDown`].
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        let mut is_stalled = false;
        while self.device_lost.is_none() && self.receive(messages, is_stalled) {
            self.cancel_flagged();
            is_stalled = !self.step();
            self.answer_ended();
        }
        log::shut_down(self.active.len());
        let end = self.device_lost.take().map_or(EngineEnd::ShutDown, EngineEnd::DeviceLost);
        let has_pages = matches!(end, EngineEnd::ShutDown);
        self.admission.close(end);
        self.end_all();
        if has_pages {
            self.close_disk();
        }
        self.publish();
    }

    /// Starts draining: rejects new requests and gives running ones until the deadline.
    pub(crate) fn drain(&mut self, until: Instant) {
        self.drain_until = Some(until);
    }

    fn end_all(&mut self) {
        let ids: Vec<RequestId> = self.active.keys().copied().collect();
        for id in ids {
            if let Some(active) = self.active.get_mut(&id) {
                active.error.get_or_insert_with(|| self.admission.end_error());
            }
            self.scheduler.cancel(id, &mut self.cache);
        }
        self.answer_ended();
    }

    pub(super) fn now_us(&self) -> u64 {
        self.clock.now().saturating_duration_since(self.epoch).as_micros() as u64
    }

    /// Publishes the queue length.
    pub(super) fn tell_waiting(&self) {
        self.admission.n_waiting.store(self.scheduler.n_waiting(), Ordering::Release);
    }

    /// Publishes current statistics.
    pub(crate) fn publish(&self) {
        self.admission.publish(self.stats(), 0);
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            live_requests: self.active.len(),
            running: self.scheduler.n_running(),
            waiting: self.scheduler.n_waiting(),
            max_running: (!self.scheduler.config().is_unlimited()).then(|| self.scheduler.batch_size()),
            batch_size: self.scheduler.current_batch_size(),
            batching: self.scheduler.stats(),
            cache: self.cache.stats(),
            speculation: self.speculator.stats,
            kv_disk: self.disk.as_ref().map(DiskTier::stats).unwrap_or_default(),
            lost_events: self.lost_events.count(),
        }
    }

    /// Receives messages, blocking while there is nothing else to do. Returns `false` when the thread should end.
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
        if self.drain_until.is_some_and(|until| self.active.is_empty() || until <= self.clock.now()) {
            return false;
        }
        let Some(wait) = self.idle_time(is_stalled).filter(|_| !is_woken) else {
            return true;
        };
        match messages.recv_timeout(self.clock.sleep_time(wait)) {
            Ok(message) => self.handle(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// How long the thread may sleep; `None` if there is work now.
    fn idle_time(&self, is_stalled: bool) -> Option<Duration> {
        const FOREVER: Duration = Duration::from_secs(3600);
        let wait = match self.scheduler.wake_at_us() {
            None => FOREVER,
            Some(at_us) => Duration::from_micros(at_us.saturating_sub(self.now_us())),
        };
        let wait = match self.drain_until {
            Some(until) => wait.min(until.saturating_duration_since(self.clock.now())),
            None => wait,
        };
        let wait = if is_stalled && self.scheduler.n_running() > 0 { wait.max(STALL) } else { wait };
        (!wait.is_zero()).then_some(wait)
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Submit(submission) => {
                self.submit(*submission);
                self.admission.publish(self.stats(), 1);
                self.answer();
            }
            Message::Wake => {}
            Message::Call(call) => {
                call(self);
                self.publish();
            }
        }
    }

    fn submit(&mut self, submission: Submission) {
        let Submission { params, prompt, priority, client, session, namespace, rope_range } = submission;
        if self.drain_until.is_some() {
            return self.refuse(params, Error::ShutDown);
        }
        let begun = self.begin(prompt, session.as_ref(), &namespace, &params);
        let (input, turn) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.refuse(params, error),
        };
        log::submitted(&params, input.tokens.len());
        let submitted_us = params.submitted.saturating_duration_since(self.epoch).as_micros() as u64;
        let deadline_us =
            params.options.limits.max_time_ms.map(|ms| submitted_us.saturating_add(ms.saturating_mul(1000)));
        let n_choices = params.n as u32;
        let mut active = ActiveRequest::new(params, &input, &self.text);
        let mut request = Request::new(active.id, input.tokens, namespace, active.max_new_tokens());
        request.rope_range = rope_range;
        request.turn = turn;
        request.priority = priority;
        request.client = client;
        request.n_choices = n_choices;
        request.deadline_us = deadline_us;
        active.want_outputs(&mut request, self.executor.info().max_top_k);
        match self.scheduler.submit(request, submitted_us, &self.cache) {
            Ok(()) => _ = self.active.insert(active.id, active),
            Err((error, request)) => {
                if let Some(turn) = request.turn {
                    self.cache.end_turn(turn, None, TurnEnd::Rollback);
                }
                active.error = Some(error.into());
                self.over.push(Over::Ended(Box::new(active)));
            }
        }
    }

    fn refuse(&mut self, params: RequestParams, error: Error) {
        self.over.push(Over::Refused { params: Box::new(params), error });
    }

    /// Validates the prompt tokens and begins the turn on the request's session.
    fn begin(
        &mut self,
        prompt: PromptTokens,
        session: Option<&(SessionId, SessionMode)>,
        namespace: &Namespace,
        params: &RequestParams,
    ) -> Result<(Input, Option<Turn>), Error> {
        let (first, start, appended) = match prompt {
            // The context may have become shorter in the meantime.
            PromptTokens::Alone(input) => return Ok((input.within(self.bounds.context_len)?, None)),
            PromptTokens::InSession { first, start, appended } => (first, start, appended),
        };
        let Some((session, mode)) = session else {
            return Ok((Input::new(first, start, &params.options, &self.bounds)?, None));
        };
        let token_ids = self.cache.session_token_ids(session).unwrap_or_default();
        let has_spoken = params.has_spoken.as_ref().is_some_and(|spoken| spoken.load(Ordering::Relaxed));
        let is_to_persist = self.cache.config().persist_across_requests;
        if token_ids.is_empty() && has_spoken && is_to_persist && *mode == SessionMode::Append {
            return Err(CacheError::UnknownSession { session: session.clone() }.into());
        }
        let tokens = match appended {
            Some(appended) if !token_ids.is_empty() => appended?,
            _ => first,
        };
        let context = match mode {
            SessionMode::Append => [token_ids, &tokens].concat(),
            SessionMode::Prefix => tokens.clone(),
        };
        // Check before the cache does: a full context should be reported as such, not as a lack of pages.
        let input = Input::new(context, start, &params.options, &self.bounds)?;
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
        let flagged =
            self.active.iter().filter(|(_, active)| active.responder.ticket().cancel.is_cancelled());
        self.cancelled.extend(flagged.map(|(id, _)| *id));
        while let Some(id) = self.cancelled.pop() {
            self.scheduler.cancel(id, &mut self.cache);
        }
    }

    /// Drops cached pages beyond `max_bytes`, buffers, and the memory of empty pages. Returns the bytes still held.
    pub(crate) fn trim(&mut self, max_bytes: u64) -> Result<u64, ExecError> {
        let held_bytes = self.cache.trim(max_bytes);
        self.spill_pages();
        let mut blank: Vec<PageId> = self.cache.blank_pages().collect();
        blank.sort_unstable();
        self.executor.release_pages(&blank)?;
        (self.buffers, self.results) = (SamplingBuffers::default(), Results::new());
        Ok(held_bytes)
    }

    /// Answers finished requests. Statistics were published before, so whoever has the answer finds it counted.
    pub(super) fn answer(&mut self) {
        let mut over = std::mem::take(&mut self.over);
        for request in over.drain(..) {
            let metrics = match &request {
                Over::Ended(request) => {
                    log::ended(request);
                    request.metrics()
                }
                Over::Refused { params, error } => {
                    log::refused(params, error);
                    RequestMetrics::refused(params.id, self.clock.now() - params.submitted)
                }
            };
            if let Some(sink) = &self.metrics {
                sink.request(&metrics);
            }
            match request {
                Over::Ended(request) => request.respond(),
                Over::Refused { params, error } => params.responder.give(Err(error)),
            }
        }
        self.over = over;
    }
}
