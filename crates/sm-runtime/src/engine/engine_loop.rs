//! The engine's thread: receive → schedule → submit → wait → sample → commit → answer. It alone changes sequences, cache and
//! executor; callers reach it by messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use sm_batching::{Ended, Request, RequestId, Results, Scheduler};
use sm_cache::{CacheError, KvCache, Namespace, SessionId, SessionMode, Turn, TurnEnd, TurnRequest};
use sm_kernels::plan::{ExecError, Executor, RopeRange, StepOutput};
use sm_tensor::{PageId, TokenId};

use super::active_request::{ActiveRequest, SamplingBuffers};
use super::admission::{Admission, EngineEnd};
use super::advice::Advice;
use super::guard::{GuardedSink, LostEvents};
use super::log;
use super::reply::Replier;
use super::request_params::RequestParams;
use super::speculation::Speculator;
use super::stats::EngineStats;
use crate::input::{Input, ModelBounds};
use crate::kv_disk::DiskTier;
use crate::text::{Text, TextStart};
use crate::{Error, RequestMetrics};

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
    pub(crate) params: RequestParams,
    pub(crate) prompt: PromptTokens,
    pub(crate) priority: sm_batching::Priority,
    pub(crate) client: u64,
    pub(crate) session: Option<(SessionId, SessionMode)>,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) rope_range: RopeRange,
}

/// A prompt as tokens; which of them hold is known when its session is looked up.
pub(crate) struct PromptTokens {
    /// Where it follows nothing.
    pub(crate) first: Vec<TokenId>,
    pub(crate) start: TextStart,
    /// Where it follows what a session has said, if that is different.
    pub(crate) appended: Option<Result<Vec<TokenId>, Error>>,
}

/// What the thread owns.
pub(crate) struct Core {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) scheduler: Scheduler,
    pub(crate) cache: KvCache,
    pub(super) active: HashMap<RequestId, ActiveRequest>,
    text: Text,
    pub(crate) bounds: ModelBounds,
    pub(crate) admission: Arc<Admission>,
    pub(crate) speculator: Speculator,
    /// Where evicted pages go, if anywhere.
    pub(crate) disk: Option<DiskTier>,
    pub(super) metrics: Option<GuardedSink>,
    lost_events: LostEvents,
    pub(super) output: StepOutput,
    pub(super) results: Results,
    pub(super) buffers: SamplingBuffers,
    pub(super) ended: Vec<Ended>,
    pub(super) cancelled: Vec<RequestId>,
    /// Requests that are over and not answered yet.
    pub(super) over: Vec<Over>,
    pub(crate) advice: Advice,
    epoch: Instant,
    /// No new requests; the thread ends when those it has are over, or at the instant.
    drain_until: Option<Instant>,
    /// What ended the engine, if its device is gone.
    pub(super) device_lost: Option<ExecError>,
    /// Who waits for the end of the thread. Dropped last, when everything that the thread owned is gone.
    pub(crate) waiting_for_end: Vec<Replier<()>>,
}

/// A request that is over.
pub(super) enum Over {
    /// It was accepted.
    Ended(Box<ActiveRequest>),
    /// It cannot be served.
    Refused { params: Box<RequestParams>, error: Error },
}

/// The parts that [`Core::new`] is made of.
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
            results: Results::new(),
            buffers: SamplingBuffers::default(),
            ended: Vec::new(),
            cancelled: Vec::new(),
            over: Vec::new(),
            advice,
            epoch: Instant::now(),
            drain_until: None,
            device_lost: None,
            waiting_for_end: Vec::new(),
        }
    }

    /// Serves until all callers are gone or the engine is drained. Whoever is left learns that it has shut down.
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

    /// Begins to drain: nothing new is accepted, and what runs has until the instant.
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
        self.epoch.elapsed().as_micros() as u64
    }

    /// Tells callers how many wait.
    pub(super) fn tell_waiting(&self) {
        self.admission.n_waiting.store(self.scheduler.n_waiting(), Ordering::Release);
    }

    /// Shows callers how the engine stands now.
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
        if self.drain_until.is_some_and(|until| self.active.is_empty() || until <= Instant::now()) {
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
        request.prompt_logits = active.prompt_logits();
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

    /// The tokens to be continued, checked, and the turn on the request's session.
    fn begin(
        &mut self,
        prompt: PromptTokens,
        session: Option<&(SessionId, SessionMode)>,
        namespace: &Namespace,
        params: &RequestParams,
    ) -> Result<(Input, Option<Turn>), Error> {
        let Some((session, mode)) = session else {
            return Ok((Input::new(prompt.first, prompt.start, &params.options, &self.bounds)?, None));
        };
        let token_ids = self.cache.session_token_ids(session).unwrap_or_default();
        let has_spoken = params.has_spoken.as_ref().is_some_and(|spoken| spoken.load(Ordering::Relaxed));
        let is_to_persist = self.cache.config().persist_across_requests;
        if token_ids.is_empty() && has_spoken && is_to_persist && *mode == SessionMode::Append {
            return Err(CacheError::UnknownSession { session: session.clone() }.into());
        }
        let tokens = match prompt.appended {
            Some(appended) if !token_ids.is_empty() => appended?,
            _ => prompt.first,
        };
        let context = match mode {
            SessionMode::Append => [token_ids, &tokens].concat(),
            SessionMode::Prefix => tokens.clone(),
        };
        // Before the cache looks at it: a full context is to be told as one, not as a lack of pages.
        let input = Input::new(context, prompt.start, &params.options, &self.bounds)?;
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

    /// Gives up cached pages beyond `max_bytes`, buffers, and the memory of pages that hold nothing; gives the bytes that are
    /// held then.
    pub(crate) fn trim(&mut self, max_bytes: u64) -> Result<u64, ExecError> {
        let held_bytes = self.cache.trim(max_bytes);
        self.spill_pages();
        let mut blank: Vec<PageId> = self.cache.blank_pages().collect();
        blank.sort_unstable();
        self.executor.release_pages(&blank)?;
        (self.buffers, self.results) = (SamplingBuffers::default(), Results::new());
        Ok(held_bytes)
    }

    /// Answers all who wait for requests that are over. The statistics were published before: who has an answer finds it
    /// counted.
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
                    RequestMetrics::refused(params.submitted.elapsed())
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
