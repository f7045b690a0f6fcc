//! `POST /v1/chat/completions`, `POST /v1/chat/completions/input_tokens`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use sm_runtime::ModelHandle;

use super::create::{create as create_for, defaults, parse, text_field};
use crate::app::App;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::wire::openai::{Call, Endpoint, read};

/// Answers messages.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    create_for(Endpoint::ChatCompletions, &app, &body).await
}

/// Counts the tokens of messages and tools together, as the prompt has them.
///
/// # Errors
/// If the body is wrong, or the template refuses the messages.
pub(crate) async fn count(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let body = parse(&body)?;
    let model = app.model(text_field(&body, "model")?).await?;
    let call = read(Endpoint::ChatCompletions, &body, defaults(&app, &model, Endpoint::ChatCompletions))?;
    count_tokens(&app, model, call).await
}

/// The tokens of a call's prompt, in the form of OpenAI.
///
/// # Errors
/// If the template refuses the messages.
pub(crate) async fn count_tokens(
    app: &App,
    model: ModelHandle,
    mut call: Call,
) -> Result<Json<Value>, ApiError> {
    let form = app.config().tool_form;
    let n_tokens = blocking(app, move || {
        call.prepare(model.model(), form)?;
        Ok(model.model().tokenize(&call.request.prompt)?.len())
    });
    Ok(Json(json!({"object": "response.input_tokens", "input_tokens": n_tokens.await?})))
}
