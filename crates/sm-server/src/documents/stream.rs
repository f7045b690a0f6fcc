//! Answers as streams, in three forms: server-sent events, lines of JSON, or the plain text as it comes.

use std::fmt::Write as _;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sm_runtime::{Completion, TokenEvent};

use crate::error::{ApiError, Envelope};
use crate::generation::{ChunkStream, Chunks, Generation};
use crate::wire::documents::{Answer, NdjsonLine, Task};

/// A form of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamForm {
    /// Server-sent events: a frame for each token, then an event `done` with the whole answer.
    Events,
    /// A line of JSON for each token.
    Lines,
    /// The text and nothing else.
    Raw,
}

impl StreamForm {
    /// Whether tokens have more than their text.
    pub(super) fn has_fields(self) -> bool {
        matches!(self, Self::Events | Self::Lines)
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Raw => "text/plain; charset=utf-8",
        }
    }
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) task: Task,
    pub(super) text: String,
    pub(super) n: usize,
}

/// The response of a running generation.
pub(super) fn respond(form: StreamForm, generation: Generation, subject: Subject) -> Response {
    let chunks = ChunkStream::new(generation, Writer { form, subject });
    let headers = [(header::CONTENT_TYPE, form.content_type()), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(chunks)).into_response()
}

#[derive(Debug)]
struct Writer {
    form: StreamForm,
    subject: Subject,
}

impl Writer {
    fn piece(&self, name: Option<&str>, value: &impl Serialize) -> Bytes {
        // What is written here has texts as keys, which is all that JSON asks for.
        let json = serde_json::to_string(value).unwrap_or_default();
        let mut piece = String::with_capacity(json.len() + 24);
        match (self.form, name) {
            (StreamForm::Events, Some(name)) => _ = write!(piece, "event: {name}\ndata: {json}\n\n"),
            (StreamForm::Events, None) => _ = write!(piece, "data: {json}\n\n"),
            (StreamForm::Lines | StreamForm::Raw, _) => _ = writeln!(piece, "{json}"),
        }
        piece.into()
    }
}

impl Chunks for Writer {
    /// An error cuts the response off, so that what has arrived of a plain text is not taken for all of it.
    type Item = Result<Bytes, std::io::Error>;

    fn begin(&mut self, _pieces: &mut Vec<Self::Item>) {}

    fn event(&mut self, event: TokenEvent, pieces: &mut Vec<Self::Item>) {
        match self.form {
            StreamForm::Raw if event.text.is_empty() => {}
            StreamForm::Raw => pieces.push(Ok(event.text.into())),
            _ => pieces.push(Ok(self.piece(None, &NdjsonLine::new(event, self.subject.n)))),
        }
    }

    fn end(&mut self, outcome: Result<Vec<Completion>, ApiError>, pieces: &mut Vec<Self::Item>) {
        match (outcome, self.form) {
            (Ok(completions), StreamForm::Events) => {
                let answer = Answer::new(self.subject.task, &self.subject.text, completions);
                pieces.push(Ok(self.piece(Some("done"), &answer)));
            }
            (Ok(_), StreamForm::Lines | StreamForm::Raw) => {}
            (Err(error), StreamForm::Raw) => pieces.push(Err(std::io::Error::other(error.to_string()))),
            (Err(error), StreamForm::Events | StreamForm::Lines) => {
                pieces.push(Ok(self.piece(Some("error"), &Envelope::Documents.body(&error))));
            }
        }
    }
}
