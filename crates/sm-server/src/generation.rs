//! From a request to a stream of its events.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use futures_core::Stream;
use sm_runtime::{Completion, ModelHandle, Prompt, Request, TokenEvent, TokenStream};

use crate::app::App;
use crate::chat::AnswerStart;
use crate::error::ApiError;

/// A running request, whose model stays loaded. Dropping it cancels the request.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) model: ModelHandle,
    /// Where the answers to messages start.
    pub(crate) start: AnswerStart,
    events: TokenStream,
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
        blocking(app, move || {
            let (request, prepared) = prepare(&model)?;
            let start = answer_start(&model, &request.prompt);
            let events = model.stream(request)?;
            Ok((Self { model, start, events }, prepared))
        })
        .await
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// If the request fails.
    pub(crate) async fn finish(mut self) -> Result<Vec<Completion>, ApiError> {
        while let Some(event) = self.events.next().await {
            event?;
        }
        Ok(self.events.finish()?)
    }

    /// Tokens of the prompt; `None` in a session, whose context counts too.
    pub(crate) fn n_prompt_tokens(&self) -> Option<usize> {
        self.events.n_prompt_tokens()
    }

    /// The next event, `None` after the last one.
    pub(crate) fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<TokenEvent, ApiError>>> {
        Poll::Ready(ready!(self.events.poll_next(context)).map(|event| event.map_err(ApiError::from)))
    }

    /// The completions of a request whose events are over.
    ///
    /// # Errors
    /// If the request failed.
    pub(crate) fn completions(self) -> Result<Vec<Completion>, ApiError> {
        Ok(self.events.finish()?)
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
    Ok(blocking(app, move || Ok(model.submit(request)?)).await?.await?)
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
pub(crate) struct ChunkStream<C: Chunks> {
    chunks: C,
    generation: Option<Generation>,
    /// Pieces to be sent, the next one last.
    pieces: Vec<C::Item>,
}

impl<C: Chunks> ChunkStream<C> {
    pub(crate) fn new(generation: Generation, mut chunks: C) -> Self {
        let mut pieces = Vec::new();
        chunks.begin(&mut pieces);
        pieces.reverse();
        Self { chunks, generation: Some(generation), pieces }
    }
}

impl<C: Chunks> Stream for ChunkStream<C>
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
                    let outcome = this.generation.take().map_or(Ok(Vec::new()), Generation::completions);
                    this.chunks.end(outcome, &mut this.pieces);
                }
            }
            this.pieces.reverse();
        }
    }
}
