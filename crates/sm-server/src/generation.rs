//! From a request to a stream of its events.

mod series;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use futures_core::Stream;
use sm_runtime::{
    Completion, Engine, FinishReason, ModelHandle, Prompt, Request, RequestHandle, RequestStatus, TokenEvent,
    TokenStream,
};
use tokio::time::Sleep;

use crate::app::App;
use crate::call::Meter;
use crate::chat::AnswerStart;
use crate::error::ApiError;
use crate::wire::FieldError;

pub(crate) use series::Series;

/// What runs: it gives events until it is over, and then completions.
pub(crate) trait Events: Unpin + Send {
    /// The next event, `None` after the last one.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<TokenEvent, ApiError>>>;

    /// The completions, once its events are over.
    ///
    /// # Errors
    /// If a request failed.
    fn completions(self) -> Result<Vec<Completion>, ApiError>;
}

/// A running request, whose model stays loaded. Dropping it cancels the request.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) model: ModelHandle,
    /// Where the answers to messages start.
    pub(crate) start: AnswerStart,
    events: TokenStream,
    meter: Meter,
    /// When it must have left the queue.
    queue_deadline: Option<Pin<Box<Sleep>>>,
    /// How long it may take.
    limit_ms: Option<u64>,
    /// Tokens that a stream of it sends at a time.
    pub(crate) stream_interval: usize,
}

impl Generation {
    /// Renders, tokenizes and queues a request on a thread that may block.
    ///
    /// # Errors
    /// If the request is invalid, or the engine's queue is full.
    pub(crate) async fn start(app: &App, model: ModelHandle, request: Request) -> Result<Self, ApiError> {
        Ok(Self::start_with(app, model, |_| Ok((request, ()))).await?.0)
    }

    /// As [`Generation::start`], with a request that is prepared for the model on the thread that may block.
    ///
    /// # Errors
    /// As [`Generation::start`]; those of `prepare`.
    pub(crate) async fn start_with<T: Send + 'static>(
        app: &App,
        model: ModelHandle,
        prepare: impl FnOnce(&ModelHandle) -> Result<(Request, T), ApiError> + Send + 'static,
    ) -> Result<(Self, T), ApiError> {
        Self::start_metered(app, model, Meter::begin()?, prepare).await
    }

    async fn start_metered<T: Send + 'static>(
        app: &App,
        model: ModelHandle,
        meter: Meter,
        prepare: impl FnOnce(&ModelHandle) -> Result<(Request, T), ApiError> + Send + 'static,
    ) -> Result<(Self, T), ApiError> {
        let engine = Engine::clone(&model);
        let limits = RequestLimits::of(app);
        let stream_interval = app.config().stream_interval;
        let starting = blocking(app, move || {
            let (mut request, prepared) = prepare(&model)?;
            meter.apply(&mut request);
            limits.apply(&mut request)?;
            let limit_ms = request.options.limits.max_time_ms;
            let start = answer_start(&model, &request.prompt);
            let events = model.stream(request)?;
            events.wake_every(stream_interval);
            let started =
                Self { model, start, events, meter, queue_deadline: None, limit_ms, stream_interval };
            Ok((started, prepared))
        });
        let (mut started, prepared) = starting.await.map_err(|error| match error.is_overload() {
            true => error.retry_after(app.load().retry_after(&engine.stats())),
            false => error,
        })?;
        tracing::debug!(request = started.events.id().0, "queued");
        let queue_timeout = app.config().queue_timeout;
        started.queue_deadline = queue_timeout.map(|limit| Box::pin(tokio::time::sleep(limit)));
        Ok((started, prepared))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// If the request fails.
    pub(crate) async fn finish(mut self) -> Result<Vec<Completion>, ApiError> {
        while let Some(event) = poll_fn(|context| self.poll_event(context)).await {
            event?;
        }
        let limit_ms = self.limit_ms;
        let mut completions = self.completions()?;
        // The text of a stream has arrived; here, nobody would see that it was cut.
        match (limit_ms, completions.iter().position(|choice| choice.finish_reason == FinishReason::Timeout))
        {
            (Some(limit_ms), Some(choice)) => {
                let partial = Box::new(completions.swap_remove(choice));
                Err(sm_runtime::Error::Timeout { limit_ms, partial }.into())
            }
            _ => Ok(completions),
        }
    }

    /// Tokens of the prompt; `None` in a session, whose context counts too.
    pub(crate) fn n_prompt_tokens(&self) -> Option<usize> {
        self.events.n_prompt_tokens()
    }

    /// The error of a request that waits for too long.
    fn poll_queue_deadline(&mut self, context: &mut Context<'_>) -> Poll<ApiError> {
        let Some(deadline) = &mut self.queue_deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(context));
        self.queue_deadline = None;
        if self.events.status() != RequestStatus::Queued {
            return Poll::Pending;
        }
        self.events.cancel();
        let message = "the request waited for its turn for longer than --queue-timeout allows; retry later";
        Poll::Ready(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message))
    }
}

impl Events for Generation {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<TokenEvent, ApiError>>> {
        let event = match self.events.poll_next(context) {
            Poll::Ready(event) => event,
            Poll::Pending => return self.poll_queue_deadline(context).map(|error| Some(Err(error))),
        };
        self.queue_deadline = None;
        if let Some(Ok(event)) = &event {
            self.meter.event(event);
        }
        Poll::Ready(event.map(|event| event.map_err(ApiError::from)))
    }

    fn completions(mut self) -> Result<Vec<Completion>, ApiError> {
        let completions = self.events.finish()?;
        self.meter.finish(&completions);
        Ok(completions)
    }
}

/// What the server lets a request take.
#[derive(Clone, Copy, Debug)]
struct RequestLimits {
    time: Option<Duration>,
    max_logprobs: usize,
}

impl RequestLimits {
    fn of(app: &App) -> Self {
        let config = app.config();
        Self { time: config.request_timeout, max_logprobs: config.max_logprobs }
    }

    /// Applies the time limit to a request that has none, or a later one.
    ///
    /// # Errors
    /// If it asks for more log-probabilities than it may.
    fn apply(self, request: &mut Request) -> Result<(), FieldError> {
        let options = &mut request.options;
        let most = self.max_logprobs;
        for (field, asked) in [("logprobs", options.logprobs), ("prompt_logprobs", options.prompt_logprobs)] {
            if let Some(asked) = asked.filter(|asked| *asked > most) {
                let message = format!(
                    "{asked} likely tokens at each position are more than this server's {most}; ask for fewer, or raise --max-logprobs"
                );
                return Err(FieldError::new(field, message));
            }
        }
        if let Some(limit) = self.time {
            let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            let own = &mut options.limits.max_time_ms;
            *own = Some(own.map_or(limit, |own| own.min(limit)));
        }
        Ok(())
    }
}

/// Where the answer to a prompt starts. Only messages are answered; all else is continued.
fn answer_start(model: &ModelHandle, prompt: &Prompt) -> AnswerStart {
    let Prompt::Messages(request) = prompt else { return AnswerStart::default() };
    let template = model.model().chat_template();
    template.map(|template| AnswerStart::of_answer_to(request, template)).unwrap_or_default()
}

/// The completions of a request that nobody watches. One that runs out of time is an error, unlike that of a stream, whose
/// text has arrived.
///
/// # Errors
/// If the request fails.
pub(crate) async fn complete(
    app: &App,
    model: ModelHandle,
    request: Request,
) -> Result<Vec<Completion>, ApiError> {
    Generation::start(app, model, request).await?.finish().await
}

/// The completions of several requests, in order. As many are in the engine as it runs at a time, so that those of a long list
/// leave its queue to others.
///
/// # Errors
/// That of the first request that fails.
pub(crate) async fn complete_all(
    app: &App,
    model: &ModelHandle,
    requests: Vec<Request>,
) -> Result<Vec<Completion>, ApiError> {
    let mut meter = Meter::begin()?;
    let n_parallel = n_parallel(model);
    let limits = RequestLimits::of(app);
    let mut running = VecDeque::<RequestHandle>::with_capacity(n_parallel);
    let mut done = Vec::with_capacity(requests.len());
    for mut request in requests {
        meter.apply(&mut request);
        limits.apply(&mut request)?;
        if running.len() == n_parallel
            && let Some(first) = running.pop_front()
        {
            done.push(first.await?);
        }
        let model = model.clone();
        running.push_back(blocking(app, move || Ok(model.submit(request)?)).await?);
    }
    for handle in running {
        done.push(handle.await?);
    }
    done.iter().for_each(|completions| meter.finish(completions));
    Ok(done.into_iter().flatten().collect())
}

/// How many requests of a list are in the engine at a time.
fn n_parallel(model: &ModelHandle) -> usize {
    model.stats().max_running.unwrap_or(8).max(1)
}

/// Runs something that takes a while, such as tokenizing a prompt, on a thread that may block. Few do so at a time.
///
/// # Errors
/// The work's own; if it panics.
pub(crate) async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let Ok(permit) = app.preparing().acquire_owned().await else {
        return Err(ApiError::draining());
    };
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "preparing the prompt failed");
    done.await.map_err(broken)?
}

/// Turns a generation's events into pieces of a response.
pub(crate) trait Chunks: Unpin + Send {
    /// What is sent.
    type Item;

    /// Before the first event.
    fn begin(&mut self, pieces: &mut Vec<Self::Item>);

    /// For an event.
    fn event(&mut self, event: TokenEvent, pieces: &mut Vec<Self::Item>);

    /// After the last event.
    fn end(&mut self, outcome: Result<Vec<Completion>, ApiError>, pieces: &mut Vec<Self::Item>);
}

/// The pieces of a generation as a stream.
#[derive(Debug)]
pub(crate) struct ChunkStream<C: Chunks, E = Generation> {
    chunks: C,
    generation: Option<E>,
    /// Pieces to be sent, the next one last.
    pieces: Vec<C::Item>,
}

impl<C: Chunks, E: Events> ChunkStream<C, E> {
    pub(crate) fn new(generation: E, mut chunks: C) -> Self {
        let mut pieces = Vec::new();
        chunks.begin(&mut pieces);
        pieces.reverse();
        Self { chunks, generation: Some(generation), pieces }
    }
}

impl<C: Chunks, E: Events> Stream for ChunkStream<C, E>
where
    C::Item: Unpin,
{
    type Item = C::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<C::Item>> {
        let this = &mut *self;
        loop {
            if let Some(piece) = this.pieces.pop() {
                return Poll::Ready(Some(piece));
            }
            let Some(generation) = &mut this.generation else {
                return Poll::Ready(None);
            };
            match ready!(generation.poll_event(context)) {
                Some(Ok(event)) => this.chunks.event(event, &mut this.pieces),
                Some(Err(error)) => {
                    this.generation = None;
                    this.chunks.end(Err(error), &mut this.pieces);
                }
                None => {
                    let outcome = this.generation.take().map_or(Ok(Vec::new()), E::completions);
                    this.chunks.end(outcome, &mut this.pieces);
                }
            }
            this.pieces.reverse();
        }
    }
}
