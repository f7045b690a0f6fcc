//! `POST /v1/responses`

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde_json::Value;
use sm_runtime::{Completion, TokenEvent};

use super::retrieve::owner;
use crate::answering::{Answering, PartWriter, Parts};
use crate::app::App;
use crate::chat::Piece;
use crate::error::ApiError;
use crate::generation::ChunkStream;
use crate::openai::create::{KEEP_ALIVE, id, parse, text_field, warn};
use crate::response_store::Stored;
use crate::wire::openai::Extras;
use crate::wire::responses::{ItemEvent, ItemWriter, ResponseHead, Telemetry, read};

/// Answers items.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let model = app.model(text_field(&body, "model")?).await?;
    let earlier = earlier(&app, text_field(&body, "previous_response_id")?)?;
    let asked = read(&body, &earlier, app.defaults(&model))?;
    let head =
        ResponseHead { id: id(), created: now(), model: model.name().to_owned(), fields: asked.fields };
    let keeper = asked.is_stored.then(|| Keeper {
        app: app.clone(),
        id: head.response_id(),
        input: asked.input,
        earlier,
        owner: owner(),
    });
    let warnings = asked.call.warnings.clone();
    let Extras { has_timings, reports_progress, .. } = asked.call.extras;
    let telemetry = Telemetry { has_timings, reports_progress };
    let answering = Answering::start(&app, model, asked.call).await?;
    let tokenizer = answering.generation.model.tokenizer().cloned();
    let writer = ResponseWriter { items: ItemWriter::new(head, tokenizer, telemetry), keeper };
    let splitter = answering.splitter();
    let parts = Parts::new(&answering.generation, Some(splitter), writer);
    let events = ChunkStream::new(answering.generation, parts);
    let mut response = if asked.is_stream {
        Sse::new(Sent(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    } else {
        Json(whole(events).await?).into_response()
    };
    warn(&mut response, &warnings);
    Ok(response)
}

/// The items from which a request goes on.
///
/// # Errors
/// If the response that it names is not known any more.
pub(super) fn earlier(app: &App, id: Option<&str>) -> Result<Vec<Value>, ApiError> {
    let Some(id) = id else { return Ok(Vec::new()) };
    match app.responses().get(id, owner().as_deref()) {
        Some(stored) => Ok(stored.items()),
        None => {
            let message = format!(
                "previous_response_id: response {id:?} not found: it was not stored, was deleted, or is among the oldest, \
                 which are forgotten; send all items as input"
            );
            Err(ApiError::invalid("previous_response_id", message))
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Stores a response when it has ended.
#[derive(Debug)]
struct Keeper {
    app: App,
    id: String,
    input: Vec<Value>,
    earlier: Vec<Value>,
    owner: Option<String>,
}

impl Keeper {
    fn keep(self, response: Value) {
        let Self { app, id, input, earlier, owner } = self;
        app.responses().insert(id, Stored { response, input, earlier, owner });
    }
}

/// Writes a response as events, the last of which has the object.
#[derive(Debug)]
struct ResponseWriter {
    items: ItemWriter,
    keeper: Option<Keeper>,
}

/// An event, or why the request failed, after the events that tell of it.
type Item = Result<ItemEvent, ApiError>;

impl ResponseWriter {
    fn write(&mut self, write: impl FnOnce(&mut ItemWriter, &mut Vec<ItemEvent>), items: &mut Vec<Item>) {
        let mut events = Vec::new();
        write(&mut self.items, &mut events);
        items.extend(events.into_iter().map(Ok));
    }
}

impl PartWriter for ResponseWriter {
    type Item = Item;

    fn begin(&mut self, items: &mut Vec<Item>) {
        self.write(|writer, events| writer.begin(events), items);
    }

    fn note(&mut self, event: &TokenEvent, items: &mut Vec<Item>) {
        self.write(|writer, events| writer.note(event, events), items);
    }

    fn part(&mut self, part: Piece, items: &mut Vec<Item>) {
        self.write(|writer, events| writer.piece(part, events), items);
    }

    fn end(&mut self, outcome: Result<Completion, ApiError>, items: &mut Vec<Item>) {
        match outcome {
            Ok(completion) => {
                let mut events = Vec::new();
                let response = self.items.end(&completion, now(), &mut events);
                if let Some(keeper) = self.keeper.take() {
                    keeper.keep(response);
                }
                items.extend(events.into_iter().map(Ok));
            }
            Err(error) => {
                self.write(|writer, events| writer.fail(&error.to_string(), events), items);
                items.push(Err(error));
            }
        }
    }
}

type Items = ChunkStream<Parts<ResponseWriter>>;

/// The object of a response that is not streamed.
///
/// # Errors
/// If the request fails.
async fn whole(mut events: Items) -> Result<Value, ApiError> {
    let mut last = None;
    while let Some(item) = poll_fn(|context| Pin::new(&mut events).poll_next(context)).await {
        last = Some(item?);
    }
    last.map(|mut event| event.data["response"].take()).ok_or_else(ApiError::no_answer)
}

/// The events of a response that is streamed.
#[derive(Debug)]
struct Sent(Items);

impl Stream for Sent {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_next(context)) {
                None => return Poll::Ready(None),
                // An event has told of it.
                Some(Err(_)) => {}
                Some(Ok(ItemEvent { name, data })) => {
                    return Poll::Ready(Some(Ok(Event::default().event(name).data(data.to_string()))));
                }
            }
        }
    }
}
