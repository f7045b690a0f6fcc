//! `POST /v1/messages`

use std::convert::Infallible;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use sm_runtime::Completion;

use crate::answering::{Answering, PartWriter, Parts};
use crate::app::App;
use crate::chat::Piece;
use crate::error::{ApiError, Envelope};
use crate::generation::ChunkStream;
use crate::openai::create::{KEEP_ALIVE, id, parse, text_field, warn};
use crate::wire::anthropic::{MessageHead, StreamEvent, StreamWriter, read};

/// Answers messages.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let model = app.model(text_field(&body, "model")?).await?;
    let asked = read(&body, app.defaults(&model))?;
    let head = MessageHead { id: id(), model: model.name().to_owned(), omits_thoughts: asked.omits_thoughts };
    let warnings = asked.call.warnings.clone();
    let answering = Answering::start(&app, model, asked.call).await?;
    let mut response = if asked.is_stream {
        let n_prompt = answering.generation.n_prompt_tokens().unwrap_or(0);
        let writer = MessageWriter(StreamWriter::new(head, n_prompt));
        let splitter = answering.splitter();
        let parts = Parts::new(&answering.generation, Some(splitter), writer);
        let events = ChunkStream::new(answering.generation, parts);
        let ping = StreamEvent::ping();
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).event(event(&ping));
        Sse::new(events).keep_alive(keep_alive).into_response()
    } else {
        let (answer, completion) = answering.finish().await?;
        Json(head.message(&answer, &completion)).into_response()
    };
    warn(&mut response, &warnings);
    Ok(response)
}

/// Writes a message as events.
#[derive(Debug)]
struct MessageWriter(StreamWriter);

type Sent = Result<Event, Infallible>;

fn event(event: &StreamEvent) -> Event {
    Event::default().event(event.name).data(event.data.to_string())
}

fn send(events: &[StreamEvent], sent: &mut Vec<Sent>) {
    sent.extend(events.iter().map(|each| Ok(event(each))));
}

impl PartWriter for MessageWriter {
    type Item = Sent;

    fn begin(&mut self, sent: &mut Vec<Sent>) {
        send(&self.0.begin(), sent);
    }

    fn part(&mut self, part: Piece, sent: &mut Vec<Sent>) {
        let mut events = Vec::new();
        self.0.piece(part, &mut events);
        send(&events, sent);
    }

    fn end(&mut self, outcome: Result<Completion, ApiError>, sent: &mut Vec<Sent>) {
        match outcome {
            Ok(completion) => {
                let mut events = Vec::new();
                self.0.end(&completion, &mut events);
                send(&events, sent);
            }
            Err(error) => {
                let data = Envelope::Anthropic.body(&error).to_string();
                sent.push(Ok(Event::default().event("error").data(data)));
            }
        }
    }
}
