//! `POST /v1/responses/input_tokens`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::Value;

use super::create::earlier;
use crate::app::App;
use crate::error::ApiError;
use crate::openai::chat::count_tokens;
use crate::openai::create::{parse, text_field};
use crate::wire::responses::read;

/// Counts the tokens of items, instructions and tools together, as the prompt has them.
///
/// # Errors
/// If the body is wrong, or the template refuses the items.
pub(crate) async fn count(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let body = parse(&body)?;
    let model = app.model(text_field(&body, "model")?).await?;
    let earlier = earlier(&app, text_field(&body, "previous_response_id")?)?;
    let asked = read(&body, &earlier, app.defaults(&model))?;
    count_tokens(&app, model, asked.call).await
}
