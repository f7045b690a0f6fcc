//! `POST /completion`

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, ModelHandle, Prompt, Request, TokenEvent};

use crate::app::App;
use crate::documents::respond::object;
use crate::error::{ApiError, Envelope};
use crate::generation::{ChunkStream, Chunks, Generation, blocking, complete_all};
use crate::openai::create::text_field;
use crate::wire::llamacpp::{CompletionCall, CompletionHead, RunningTimings, chunk, completion, read};

/// Continues prompts.
///
/// # Errors
/// If the body is wrong, or a request fails before its answer begins.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = object(&body)?;
    let model = model_of(&app, &body).await?;
    let defaults = app.defaults(&model);
    let (model, mut call) = blocking(&app, move || {
        let call = read(&body, defaults, model.tokenizer().map(|tokenizer| &**tokenizer))?;
        Ok((model, call))
    })
    .await?;
    let prompts = std::mem::take(&mut call.prompts);
    respond(&app, model, prompts, call).await
}

/// Loads the model that a body names, or the default one.
///
/// # Errors
/// If there is none of this name, or it cannot be loaded.
pub(super) async fn model_of(app: &App, body: &Map<String, Value>) -> Result<ModelHandle, ApiError> {
    app.model(text_field(body, "model")?).await
}

/// Continues the prompts of a call.
///
/// # Errors
/// If a request fails before its answer begins.
pub(super) async fn respond(
    app: &App,
    model: ModelHandle,
    prompts: Vec<Prompt>,
    call: CompletionCall,
) -> Result<Response, ApiError> {
    if call.is_stream {
        return stream(app, model, prompts, call).await;
    }
    let requests = prompts.into_iter().map(|prompt| request(prompt, &call)).collect();
    let all = complete_all(app, &model, requests).await?;
    let tokenizer = model.tokenizer().map(|tokenizer| &**tokenizer as _);
    let head = CompletionHead { model: model.name(), call: &call, tokenizer };
    let answers = all.iter().enumerate().map(|(index, each)| completion(&head, index, each));
    let mut answers: Vec<Value> = answers.collect();
    Ok(match call.is_list {
        true => Json(answers).into_response(),
        false => Json(answers.pop()).into_response(),
    })
}

fn request(prompt: Prompt, call: &CompletionCall) -> Request {
    static ALONE: AtomicU64 = AtomicU64::new(0);
    let mut request = Request::new(prompt, call.options.clone());
    request.reports_prefill = call.has_timings || call.reports_progress;
    if call.shares_cache {
        return request;
    }
    // Nobody else has this salt, so nothing that is cached is used.
    request.salt(format!("alone {}", ALONE.fetch_add(1, Ordering::Relaxed)))
}

async fn stream(
    app: &App,
    model: ModelHandle,
    mut prompts: Vec<Prompt>,
    call: CompletionCall,
) -> Result<Response, ApiError> {
    let prompt = prompts.pop().unwrap_or_else(|| "".into());
    let request = request(prompt, &call);
    let tokenizer = model.tokenizer().cloned();
    let timings = RunningTimings::default();
    let writer = EventWriter { model: model.name().to_owned(), call, tokenizer, timings };
    let generation = Generation::start(app, model, request).await?;
    Ok(Sse::new(ChunkStream::new(generation, writer)).into_response())
}

/// Writes chunks as server-sent events.
#[derive(Debug)]
struct EventWriter {
    model: String,
    call: CompletionCall,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    timings: RunningTimings,
}

impl EventWriter {
    fn head(&self) -> CompletionHead<'_> {
        CompletionHead { model: &self.model, call: &self.call, tokenizer: self.tokenizer.as_deref() }
    }
}

impl Chunks for EventWriter {
    type Item = Result<Event, Infallible>;

    fn begin(&mut self, _pieces: &mut Vec<Self::Item>) {}

    fn event(&mut self, token: TokenEvent, pieces: &mut Vec<Self::Item>) {
        self.timings.note(&token);
        pieces.extend(chunk(&self.head(), &token, &self.timings).as_ref().map(event));
    }

    fn end(&mut self, outcome: Result<Vec<Completion>, ApiError>, pieces: &mut Vec<Self::Item>) {
        match outcome {
            Ok(completions) => {
                pieces.extend(completions.iter().map(|each| event(&completion(&self.head(), 0, each))));
            }
            Err(error) => pieces.push(event(&Envelope::LlamaCpp.body(&error))),
        }
    }
}

fn event(chunk: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().data(chunk.to_string()))
}
