//! `POST /api/chat`

use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sm_runtime::ModelHandle;

use super::keep_alive::AfterUse;
use super::{lines, names};
use crate::answering::Answering;
use crate::app::App;
use crate::error::ApiError;
use crate::openai::create::parse;
use crate::wire::ollama::{self, AnswerHead, AnswerWriter, ChatAsk, Outcome, Shape};

/// Answers messages; without messages, loads the model or, with `keep_alive: 0`, unloads it.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn chat(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let name = names::given(&app, &body)?;
    let model_name = names::find(&app, &name)?.name;
    let began = Instant::now();
    let model = app.model(Some(&model_name)).await?;
    let load = began.elapsed();
    let ChatAsk { source, is_stream, keep_alive, thinks } = ollama::chat(&body, app.defaults(&model))?;
    let after_use = AfterUse::new(app.expiries().clone(), &model_name, keep_alive);
    let head = AnswerHead { shape: Shape::Chat, model: name, load, has_context: false };
    match source {
        None => Ok(without_answer(&head, &after_use, is_stream)),
        Some(call) => {
            check_thinking(&head.model, &model, thinks)?;
            answer(Answering::start(&app, model, call).await?, head, is_stream, after_use).await
        }
    }
}

/// The answer where nothing was asked.
pub(super) fn without_answer(head: &AnswerHead, after_use: &AfterUse, is_stream: bool) -> Response {
    let last = head.last(if after_use.unloads() { Outcome::Unloaded } else { Outcome::Loaded });
    if is_stream { lines::of(&[last]) } else { Json(last).into_response() }
}

/// As Ollama does, refuses to let a model think that does not.
///
/// # Errors
/// If the model does not think.
pub(super) fn check_thinking(name: &str, model: &ModelHandle, thinks: bool) -> Result<(), ApiError> {
    if thinks && !ollama::capabilities(model.chat_template().ok()).contains(&"thinking") {
        let message = format!("\"{name}\" does not support thinking; leave think out");
        return Err(ApiError::invalid("think", message));
    }
    Ok(())
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
