//! Streams of lines, each a JSON object.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::Value;
use sm_runtime::{Completion, TokenEvent};

use super::keep_alive::AfterUse;
use crate::answering::{PartWriter, Parts};
use crate::chat::{Piece, Splitter};
use crate::error::{ApiError, Envelope};
use crate::generation::{ChunkStream, Generation};
use crate::wire::ollama::AnswerWriter;

/// The answer to a request as a stream.
pub(super) fn stream(
    generation: Generation,
    splitter: Option<Splitter>,
    answer: AnswerWriter,
    after_use: AfterUse,
) -> Response {
    let writer = LineWriter { answer, _after_use: after_use };
    let parts = Parts::new(&generation, splitter, writer);
    let lines = ChunkStream::new(generation, parts);
    response(Body::from_stream(lines))
}

/// A stream of what is known already.
pub(super) fn of(values: &[Value]) -> Response {
    response(Body::from(values.iter().map(|value| format!("{value}\n")).collect::<String>()))
}

/// A response of lines.
pub(super) fn response(body: Body) -> Response {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Writes an answer's lines.
#[derive(Debug)]
struct LineWriter {
    answer: AnswerWriter,
    /// Dropped with the stream.
    _after_use: AfterUse,
}

type Line = Result<Bytes, Infallible>;

/// An object as a line.
pub(super) fn line(value: &Value) -> Line {
    Ok(format!("{value}\n").into())
}

impl PartWriter for LineWriter {
    type Item = Line;

    fn begin(&mut self, _lines: &mut Vec<Line>) {}

    fn note(&mut self, event: &TokenEvent, _items: &mut Vec<Self::Item>) {
        self.answer.note(event);
    }

    fn part(&mut self, part: Piece, lines: &mut Vec<Line>) {
        lines.extend(self.answer.piece(part).iter().map(line));
    }

    fn end(&mut self, outcome: Result<Completion, ApiError>, lines: &mut Vec<Line>) {
        match outcome {
            Ok(completion) => lines.extend(self.answer.end(&completion).iter().map(line)),
            Err(error) => lines.push(line(&Envelope::Ollama.body(&error))),
        }
    }
}
