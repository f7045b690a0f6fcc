//! `POST /api/generate`

use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sm_runtime::{ModelHandle, Prompt, TokenId};

use super::chat::{answer, check_thinking, without_answer};
use super::keep_alive::AfterUse;
use super::{lines, names};
use crate::answering::only;
use crate::app::App;
use crate::chat::Answer;
use crate::error::ApiError;
use crate::generation::Generation;
use crate::openai::create::{chat_defaults, parse};
use crate::wire::ollama::{self, AnswerHead, AnswerWriter, GenerateAsk, RawPrompt, Shape, Source};
use crate::wire::openai::Call;

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
        ollama::generate(&body, chat_defaults(&model))?;
    let after_use = AfterUse::new(app.expiries().clone(), &model_name, keep_alive);
    let head = AnswerHead { shape: Shape::Generate, model: name, load, has_context: true };
    let Some(source) = source else {
        return Ok(without_answer(&head, &after_use, is_stream));
    };
    check_thinking(&head.model, &model, thinks)?;
    let call = match source {
        Source::Message(call) => call,
        Source::After(context, call) => after(&app, &model, context, call).await?,
        Source::Raw(prompt) => {
            let head = AnswerHead { has_context: false, ..head };
            return answer_raw(&app, model, prompt, head, is_stream, after_use).await;
        }
    };
    answer(&app, model, call, head, is_stream, after_use).await
}

/// The call with the prompt that its message makes after a context.
///
/// # Errors
/// If the message cannot be rendered.
async fn after(
    app: &App,
    model: &ModelHandle,
    context: Vec<TokenId>,
    mut call: Call,
) -> Result<Call, ApiError> {
    let Ok(permit) = app.preparing().acquire_owned().await else {
        return Err(ApiError::draining());
    };
    let model = model.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        if let Prompt::Messages(messages) = &call.request.prompt {
            call.request.prompt = Prompt::Tokens(model.prompt_after_answer(context, messages)?);
        }
        drop(permit);
        Ok::<_, sm_runtime::Error>(call)
    });
    let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "preparing the prompt failed");
    Ok(prepared.await.map_err(broken)??)
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
