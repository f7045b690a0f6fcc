//! `POST /api/generate`

use std::ops::ControlFlow;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sm_runtime::ModelHandle;

use super::begin::{Begun, begin};
use super::chat::answer;
use super::keep_alive::AfterUse;
use super::lines;
use crate::answering::{Answering, only};
use crate::app::App;
use crate::chat::Answer;
use crate::error::ApiError;
use crate::generation::Generation;
use crate::openai::create::parse;
use crate::wire::ollama::{self, AnswerHead, AnswerWriter, RawPrompt, Shape, Source};

/// Answers a prompt; without one, loads the model or, with `keep_alive: 0`, unloads it.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn generate(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let Begun { model, head, source, is_stream, after_use } =
        match begin(&app, &parse(&body)?, Shape::Generate, ollama::generate).await? {
            ControlFlow::Break(answer) => return Ok(answer),
            ControlFlow::Continue(begun) => begun,
        };
    let (context, call) = match source {
        Source::Message(call) => (None, call),
        Source::After(context, call) => (Some(context), call),
        Source::Raw(prompt) => {
            let head = AnswerHead { has_context: false, ..head };
            return answer_raw(&app, model, prompt, head, is_stream, after_use).await;
        }
    };
    let answering = Answering::start_after(&app, model, context, call).await?;
    answer(answering, head, is_stream, after_use).await
}

/// Continues a prompt as it is.
async fn answer_raw(
    app: &App,
    model: ModelHandle,
    prompt: RawPrompt,
    head: AnswerHead,
    is_stream: bool,
    after_use: AfterUse,
) -> Result<Response, ApiError> {
    let generation = Generation::start(app, model, prompt.request).await?;
    let tokenizer = generation.model.tokenizer().cloned();
    if is_stream {
        return Ok(lines::stream(generation, None, AnswerWriter::new(head, tokenizer), after_use));
    }
    let completion = only(generation.finish().await?)?;
    let answer = Answer { content: completion.text.clone(), ..Answer::default() };
    Ok(Json(head.object(&answer, &completion, tokenizer.as_deref())).into_response())
}
