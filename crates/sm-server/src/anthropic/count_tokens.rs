//! `POST /v1/messages/count_tokens`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::messages::model_name;
use crate::app::App;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::openai::create::{chat_defaults, parse};
use crate::warning;
use crate::wire::anthropic::read;

/// Counts the tokens of messages, system prompt and tools together, as the prompt has them.
///
/// # Errors
/// If the body is wrong, or the template refuses the messages.
pub(crate) async fn count(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let model = app.model(model_name(&body)?).await?;
    let asked = read(&body, chat_defaults(&model))?;
    let prompt = asked.call.request.prompt;
    let n_tokens = blocking(&app, move || Ok(model.model().tokenize(&prompt)?.len())).await?;
    let response = Json(json!({"input_tokens": n_tokens})).into_response();
    Ok(warning::skipped_tools(response, &asked.skipped_tools))
}
