//! What is known of the HTTP request that is being answered: who called, and what the answer took.
//!
//! It is a variable of the task, so that a handler need not pass it on: [`Meter`] finds it where a request goes to an engine.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sm_runtime::{Completion, Request, TokenEvent};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::ApiError;
use crate::keys::Key;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// An HTTP request.
#[derive(Debug)]
pub(crate) struct Call {
    /// The id that its client sent or that it was given.
    pub(crate) id: String,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) started: Instant,
    key: OnceLock<Arc<Key>>,
    model: OnceLock<String>,
    body_bytes: AtomicU64,
    work: Mutex<Work>,
    runs: Mutex<Runs>,
}

/// What engines did for a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) queue: Duration,
    pub(crate) prefill: Duration,
    pub(crate) decode: Duration,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) generated_tokens: u64,
}

/// When engines worked for a call, and how their answers ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// Requests to an engine that have ended.
    pub(crate) n: usize,
    pub(crate) began: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    /// Of the first answers.
    pub(crate) finish_reasons: Vec<&'static str>,
}

/// Reasons that are kept of a call with many answers.
const MAX_REASONS: usize = 16;

impl Call {
    pub(crate) fn new(id: String, peer: Option<IpAddr>) -> Self {
        Self {
            id,
            peer,
            started: Instant::now(),
            key: OnceLock::new(),
            model: OnceLock::new(),
            body_bytes: AtomicU64::new(0),
            work: Mutex::default(),
            runs: Mutex::default(),
        }
    }

    /// The call that this task answers; `None` outside of one.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CALL.try_with(Arc::clone).ok()
    }

    /// Makes it the call of a future.
    pub(crate) async fn scope<F: Future>(self: Arc<Self>, answering: F) -> F::Output {
        CALL.scope(self, answering).await
    }

    pub(crate) fn key(&self) -> Option<&Arc<Key>> {
        self.key.get()
    }

    pub(crate) fn set_key(&self, key: Arc<Key>) {
        // Only one middleware looks for it, once.
        let _ = self.key.set(key);
    }

    /// The model that answers.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.get().map(String::as_str)
    }

    pub(crate) fn set_model(&self, name: &str) {
        // The first of several is the one that was asked for.
        let _ = self.model.set(name.to_owned());
    }

    pub(crate) fn set_body_bytes(&self, n_bytes: u64) {
        self.body_bytes.store(n_bytes, Ordering::Relaxed);
    }

    /// What engines have done for it so far; `None` if nothing.
    pub(crate) fn work(&self) -> Option<Work> {
        Some(*self.lock()).filter(|work| *work != Work::default())
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When engines worked for it.
    #[cfg(feature = "otel")]
    pub(crate) fn runs(&self) -> Runs {
        self.lock_runs().clone()
    }

    fn lock_runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its prompt is taken to have cost if nobody counted: a token has about four bytes.
    fn guessed_prompt_tokens(&self) -> u64 {
        self.body_bytes.load(Ordering::Relaxed) / 4
    }
}

/// Meters the requests that a call makes of engines. However many they are, they count as one at a time. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Metering {
    call: Option<Arc<Call>>,
    /// One of those that the key may have at a time.
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Metering {
    /// Begins a call's requests.
    ///
    /// # Errors
    /// If the key has as many running as it may.
    pub(crate) fn begin() -> Result<Self, ApiError> {
        let call = Call::current();
        let key = call.as_ref().and_then(|call| call.key());
        let permit = key.map_or(Ok(None), |key| key.begin())?;
        if let Some(call) = &call {
            call.lock_runs().began.get_or_insert_with(Instant::now);
        }
        Ok(Self { call, _permit: permit.map(Arc::new) })
    }

    /// Begins a request.
    pub(crate) fn meter(&self) -> Meter {
        Meter { metering: self.clone(), n_tokens: 0, is_finished: false }
    }
}

/// Meters a request to an engine on behalf of a call: applies the rules of its key, and counts what it takes.
#[derive(Debug)]
pub(crate) struct Meter {
    metering: Metering,
    n_tokens: u64,
    is_finished: bool,
}

impl Meter {
    /// Begins the only request of a call.
    ///
    /// # Errors
    /// If the key has as many running as it may.
    pub(crate) fn begin() -> Result<Self, ApiError> {
        Ok(Metering::begin()?.meter())
    }

    fn call(&self) -> Option<&Arc<Call>> {
        self.metering.call.as_ref()
    }

    /// Gives the request the priority, the share and the cache of its key.
    pub(crate) fn apply(&self, request: &mut Request) {
        if let Some(key) = self.call().and_then(|call| call.key()) {
            request.client = key.client();
            request.priority = key.priority(request.priority);
            request.salt = key.salt(&request.salt);
        }
    }

    /// Counts an event.
    pub(crate) fn event(&mut self, event: &TokenEvent) {
        self.n_tokens += u64::from(event.token.is_some());
    }

    /// Counts what the request took.
    pub(crate) fn finish(&mut self, completions: &[Completion]) {
        let Some(first) = completions.first() else { return };
        if let Some(call) = self.call() {
            let mut runs = call.lock_runs();
            runs.n += 1;
            runs.ended = Some(Instant::now());
            let room = MAX_REASONS.saturating_sub(runs.finish_reasons.len());
            runs.finish_reasons
                .extend(completions.iter().take(room).map(|choice| choice.finish_reason.name()));
        }
        let decode = completions.iter().map(|choice| choice.timings.decode).max();
        self.count(Work {
            queue: first.timings.first_token.saturating_sub(first.timings.prefill),
            prefill: first.timings.prefill,
            decode: decode.unwrap_or_default(),
            prompt_tokens: first.usage.prompt_tokens as u64,
            cached_tokens: first.usage.cached_tokens as u64,
            generated_tokens: completions.iter().map(|choice| choice.usage.generated_tokens as u64).sum(),
        });
    }

    /// Counts work that is done.
    pub(crate) fn count(&mut self, done: Work) {
        self.is_finished = true;
        let Some(call) = self.call() else { return };
        let mut work = call.lock();
        work.queue += done.queue;
        work.prefill += done.prefill;
        work.decode += done.decode;
        work.prompt_tokens += done.prompt_tokens;
        work.cached_tokens += done.cached_tokens;
        work.generated_tokens += done.generated_tokens;
        drop(work);
        if let Some(key) = call.key() {
            key.charge_tokens(done.prompt_tokens + done.generated_tokens);
        }
    }
}

impl Drop for Meter {
    /// A request that was cut off or failed is charged too, as far as it is known.
    fn drop(&mut self) {
        let Some(call) = self.call().filter(|_| !self.is_finished) else { return };
        call.lock().generated_tokens += self.n_tokens;
        if let Some(key) = call.key() {
            key.charge_tokens(call.guessed_prompt_tokens() + self.n_tokens);
        }
    }
}
