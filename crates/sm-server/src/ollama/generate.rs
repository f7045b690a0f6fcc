//! `POST /api/generate`

use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sm_runtime::ModelHandle;

use super::chat::{answer, check_thinking, without_answer};
use super::keep_alive::AfterUse;
use super::{lines, names};
use crate::answering::{Answering, only};
use crate::app::App;
use crate::chat::Answer;
use crate::error::ApiError;
use crate::generation::Generation;
use crate::openai::create::parse;
use crate::wire::ollama::{self, AnswerHead, AnswerWriter, GenerateAsk, RawPrompt, Shape, Source};

/// Answers a prompt; without one, loads the model or, with `keep_alive: 0`, unloads it.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn generate(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let name = names::given(&app, &body)?;
    let model_name = names::find(&app, &name)?.name;
    let began = Instant::now();
    let model = app.model(Some(&model_name)).await?;
    let load = began.elapsed();
    let GenerateAsk { source, is_stream, keep_alive, thinks } =
        ollama::generate(&body, app.defaults(&model))?;
    let after_use = AfterUse::new(app.expiries().clone(), &model_name, keep_alive);
    let head = AnswerHead { shape: Shape::Generate, model: name, load, has_context: true };
    let Some(source) = source else {
        return Ok(without_answer(&head, &after_use, is_stream));
    };
    check_thinking(&head.model, &model, thinks)?;
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
