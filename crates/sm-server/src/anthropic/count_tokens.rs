//! `POST /v1/messages/count_tokens`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::openai::create::{parse, text_field};
use crate::wire::anthropic::read;

/// Counts the tokens of messages, system prompt and tools together, as the prompt has them.
///
/// # Errors
/// If the body is wrong, or the template refuses the messages.
pub(crate) async fn count(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let body = parse(&body)?;
    let model = app.model(text_field(&body, "model")?).await?;
    let asked = read(&body, app.defaults(&model))?;
    let (mut call, form) = (asked.call, app.config().tool_form);
    let n_tokens = blocking(&app, move || {
        call.prepare(model.model(), form)?;
        Ok(model.model().tokenize(&call.request.prompt)?.len())
    });
    Ok(Json(json!({"input_tokens": n_tokens.await?})))
}
