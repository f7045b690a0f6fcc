//! What chat and text completions share.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use sm_runtime::{Completion, GenerationOptions, ModelHandle, Select, TokenEvent};

use crate::app::App;
use crate::error::{ApiError, Envelope};
use crate::generation::{ChunkStream, Chunks, Events, Generation, Series, complete_all};
use crate::wire::FieldError;
use crate::wire::openai::{AnswerShape, Call, ChunkWriter, Endpoint, ResponseHead, completion, read};

/// How often a stream that has nothing to say sends a comment, so that nobody takes it for dead.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers a body.
pub(super) async fn create(endpoint: Endpoint, app: &App, body: &[u8]) -> Result<Response, ApiError> {
    let (model, call) = read_call(endpoint, app, parse(body)?).await?;
    if !call.other_prompts.is_empty() {
        return complete_series(app, model, &call).await;
    }
    let Started { generation, shape, is_stream, warnings } =
        Started::start_call(endpoint, app, model, call).await?;
    let mut response = if is_stream {
        let n_prompt_tokens = generation.n_prompt_tokens();
        stream(app, generation, ChunkWriter::new(shape, 1, n_prompt_tokens))
    } else {
        Json(completion(&shape, &generation.finish().await?)).into_response()
    };
    warn(&mut response, &warnings);
    Ok(response)
}

/// Continues several prompts.
async fn complete_series(app: &App, model: ModelHandle, call: &Call) -> Result<Response, ApiError> {
    let requests = call.requests();
    let shape = AnswerShape {
        head: head(Endpoint::Completions, &model),
        reading: None,
        extras: call.extras.clone(),
        tokenizer: model.tokenizer().cloned(),
        n_choices: if call.request.select == Select::Best { 1 } else { call.request.n },
        // The settings of chats, which these are not.
        verbose: None,
    };
    Ok(if call.is_stream {
        let n_prompts = requests.len();
        // Before room is made for as many choices as the body asks for.
        let series = Series::start(app, model, requests).await?;
        stream(app, series, ChunkWriter::new(shape, n_prompts, None))
    } else {
        Json(completion(&shape, &complete_all(app, &model, requests).await?)).into_response()
    })
}

fn stream(app: &App, events: impl Events + 'static, writer: ChunkWriter) -> Response {
    let writer = writer.at_intervals(app.config().stream_interval);
    let chunks = ChunkStream::new(events, EventWriter(writer));
    Sse::new(chunks).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// Reads a body, and loads the model that it names.
///
/// # Errors
/// If the body is wrong, or the model cannot be loaded.
async fn read_call(
    endpoint: Endpoint,
    app: &App,
    mut body: Map<String, Value>,
) -> Result<(ModelHandle, Call), ApiError> {
    if app.config().prefills_assistant && endpoint == Endpoint::ChatCompletions {
        continue_last_answer(&mut body)?;
    }
    if let (Some(format), Endpoint::ChatCompletions) = (app.config().reasoning_format, endpoint) {
        body.entry("reasoning_format").or_insert_with(|| format.name().into());
    }
    let model = app.model(text_field(&body, "model")?).await?;
    let call = read(endpoint, &body, defaults(app, &model, endpoint)).map_err(|error| invalid(&error))?;
    Ok((model, call))
}

/// A request that runs, and the form of its answer.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) generation: Generation,
    pub(crate) shape: AnswerShape,
    is_stream: bool,
    warnings: Vec<String>,
}

impl Started {
    /// Queues the request of a body.
    ///
    /// # Errors
    /// If the body is wrong, or the request is refused.
    pub(crate) async fn start(
        endpoint: Endpoint,
        app: &App,
        body: Map<String, Value>,
    ) -> Result<Self, ApiError> {
        let (model, call) = read_call(endpoint, app, body).await?;
        Self::start_call(endpoint, app, model, call).await
    }

    async fn start_call(
        endpoint: Endpoint,
        app: &App,
        model: ModelHandle,
        mut call: Call,
    ) -> Result<Self, ApiError> {
        let config = app.config();
        let (head, form) = (head(endpoint, &model), config.tool_form);
        let (generation, (call, reading)) = Generation::start_with(app, model, move |model| {
            let reading = call.prepare(model.model(), form).map_err(|error| invalid(&error))?;
            Ok((call.request.clone(), (call, reading)))
        })
        .await?;
        let tokenizer = generation.model.tokenizer().cloned();
        let Call { request, is_stream, extras, warnings, .. } = call;
        let verbose = extras.is_verbose || config.has_verbose_answers;
        let n_choices = request.n;
        let verbose = verbose.then(|| Box::new(request.options));
        let shape = AnswerShape { head, reading, extras, tokenizer, n_choices, verbose };
        Ok(Self { generation, shape, is_stream, warnings })
    }
}

/// Has a last message of the assistant continued, as llama.cpp does, unless the body says itself what becomes of it.
///
/// # Errors
/// If two such messages follow each other: it is not clear which is to be continued.
fn continue_last_answer(body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_answer = |message: &Value| message["role"] == "assistant";
    match messages {
        [.., before, last] if is_answer(before) && is_answer(last) => {
            let message = "messages: two messages of the assistant are at the end; join them, or send what came between";
            Err(ApiError::invalid("messages", message))
        }
        [.., last] if is_answer(last) && !last["content"].is_null() => {
            if !["continue_final_message", "add_generation_prompt"]
                .iter()
                .any(|name| body.contains_key(*name))
            {
                body.insert("continue_final_message".to_owned(), true.into());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(crate) fn invalid(error: &FieldError) -> ApiError {
    ApiError::invalid(&error.field, error.to_string())
}

/// Tells in headers what was left out.
pub(crate) fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings {
        // As in RFC 9111: 299 is any lasting warning, "-" whoever answers.
        let text: String = warning.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        let value = format!("299 - \"{}\"", text.replace('\\', "").replace('"', "'"));
        if let Ok(value) = value.parse() {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// The object of a body.
pub(crate) fn parse(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(ApiError::invalid("", "the body must be a JSON object")),
        Err(error) => Err(ApiError::invalid("", format!("the body is no JSON: {error}"))),
    }
}

/// A field that must be a text.
///
/// # Errors
/// If it is none.
pub(crate) fn text_field<'b>(body: &'b Map<String, Value>, name: &str) -> Result<Option<&'b str>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(ApiError::invalid(name, format!("{name}: must be a text, not {other}"))),
    }
}

/// The options of a request that sets none: as many tokens as the context leaves, as OpenAI's chats have; texts have 16.
pub(super) fn defaults(app: &App, model: &ModelHandle, endpoint: Endpoint) -> GenerationOptions {
    let options = app.defaults(model);
    match endpoint {
        Endpoint::Completions if app.config().defaults.max_tokens.is_none() => options.max_new_tokens(16),
        _ => options,
    }
}

fn head(endpoint: Endpoint, model: &ModelHandle) -> ResponseHead {
    ResponseHead {
        endpoint,
        id: id(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        model: model.name().to_owned(),
        fingerprint: Some(format!(
            // As llama.cpp's, it begins with a letter for the build.
            "b{}-{}",
            env!("CARGO_PKG_VERSION"),
            model.info().kernels.replace(' ', "-")
        )),
        tells_of_cache: true,
    }
}

/// A number that nobody else has: the time in nanoseconds, and a count.
pub(crate) fn id() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("{nanoseconds:x}{:x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Writes chunks as server-sent events.
#[derive(Debug)]
struct EventWriter(ChunkWriter);

impl Chunks for EventWriter {
    type Item = Result<Event, Infallible>;

    fn begin(&mut self, pieces: &mut Vec<Self::Item>) {
        pieces.extend(self.0.begin().iter().map(event));
    }

    fn event(&mut self, token: TokenEvent, pieces: &mut Vec<Self::Item>) {
        pieces.extend(self.0.event(&token).iter().map(event));
    }

    fn end(&mut self, outcome: Result<Vec<Completion>, ApiError>, pieces: &mut Vec<Self::Item>) {
        pieces.extend(self.0.rest().iter().map(event));
        match outcome {
            Ok(completions) => pieces.extend(self.0.end(&completions).iter().map(event)),
            Err(error) => pieces.push(event(&Envelope::OpenAi.body(&error))),
        }
        pieces.push(Ok(Event::default().data("[DONE]")));
    }
}

fn event(chunk: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().data(chunk.to_string()))
}
