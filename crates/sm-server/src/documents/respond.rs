//! What `/generate` and `/solve/*` share: from a call to a response in the form that the client accepts.

use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use sm_runtime::{ModelHandle, Prompt, Request};

use super::stream::{self, StreamForm};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::{Generation, complete};
use crate::wire::documents::{Answer, Call, Task};

/// A call, and the form of its response.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) call: Call,
    /// `None` for an answer at once.
    pub(super) form: Option<StreamForm>,
}

impl Job {
    /// Reads a body.
    ///
    /// # Errors
    /// If it is no object, or a field is wrong.
    pub(super) fn read(task: Task, headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        let body = object(body)?;
        let call = crate::wire::documents::read(task, &body)
            .map_err(|error| ApiError::invalid(&error.field, error.to_string()))?;
        let form = match accepted(headers) {
            // Plain text holds one sequence.
            None if call.is_stream && call.n > 1 && !accepts_only_text(headers) => Some(StreamForm::Lines),
            None if call.is_stream => Some(StreamForm::Raw),
            form => form,
        };
        Ok(Self { task, call, form })
    }

    /// Runs it.
    ///
    /// # Errors
    /// If the form has no room for what is asked, or the request fails before the answer begins.
    pub(super) async fn run(
        self,
        app: &App,
        model: ModelHandle,
        prompt: Prompt,
    ) -> Result<Response, ApiError> {
        let Self { task, call, form } = self;
        let Call { text, mut options, n, priority, .. } = call;
        if form == Some(StreamForm::Raw) && n > 1 {
            let message = "a stream of plain text holds one sequence; leave num_return_sequences at 1, or accept \
                           application/x-ndjson";
            return Err(ApiError::invalid("num_return_sequences", message));
        }
        if form.is_some_and(StreamForm::has_fields) {
            options.logprobs.get_or_insert(0);
        }
        let request = Request::new(prompt, options).n(n).priority(priority);
        match form {
            None => {
                let completions = complete(app, model, request).await?;
                let answer = Answer::new(task, &text, completions);
                Ok(Json(answer.ok_or_else(ApiError::no_answer)?).into_response())
            }
            Some(form) => {
                let generation = Generation::start(app, model, request).await?;
                Ok(stream::respond(form, generation, stream::Subject { task, text, n }))
            }
        }
    }
}

/// The object of a body.
///
/// # Errors
/// If it is none.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(ApiError::invalid("", "the body must be a JSON object")),
        Err(error) => Err(ApiError::invalid("", format!("the body is no JSON: {error}"))),
    }
}

/// The form of a stream that a client names among what it accepts.
fn accepted(headers: &HeaderMap) -> Option<StreamForm> {
    ranges(headers).find_map(|range| match range {
        "text/event-stream" => Some(StreamForm::Events),
        "application/x-ndjson" | "application/ndjson" => Some(StreamForm::Lines),
        _ => None,
    })
}

/// Whether a client accepts plain text, and not anything.
fn accepts_only_text(headers: &HeaderMap) -> bool {
    ranges(headers).any(|range| range == "text/plain") && ranges(headers).all(|range| range != "*/*")
}

/// The types that a client accepts, without their parameters.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).filter_map(|range| Some(range.split(';').next()?.trim()))
}
