//! `POST /api/chat`

use std::ops::ControlFlow;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::begin::{Begun, begin};
use super::keep_alive::AfterUse;
use super::lines;
use crate::answering::Answering;
use crate::app::App;
use crate::error::ApiError;
use crate::openai::create::parse;
use crate::wire::ollama::{self, AnswerHead, AnswerWriter, Shape};

/// Answers messages; without messages, loads the model or, with `keep_alive: 0`, unloads it.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn chat(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    match begin(&app, &parse(&body)?, Shape::Chat, ollama::chat).await? {
        ControlFlow::Break(answer) => Ok(answer),
        ControlFlow::Continue(Begun { model, head, source, is_stream, after_use }) => {
            answer(Answering::start(&app, model, source).await?, head, is_stream, after_use).await
        }
    }
}

/// The answer to a message, as a stream or at once.
///
/// # Errors
/// If the request fails before the answer begins.
pub(super) async fn answer(
    answering: Answering,
    head: AnswerHead,
    is_stream: bool,
    after_use: AfterUse,
) -> Result<Response, ApiError> {
    let tokenizer = answering.generation.model.tokenizer().cloned();
    if is_stream {
        let splitter = answering.splitter();
        let writer = AnswerWriter::new(head, tokenizer);
        return Ok(lines::stream(answering.generation, Some(splitter), writer, after_use));
    }
    let (answer, completion) = answering.finish().await?;
    Ok(Json(head.object(&answer, &completion, tokenizer.as_deref())).into_response())
}
