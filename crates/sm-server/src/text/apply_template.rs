//! `POST /apply-template`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::documents::respond::object;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::wire::text::ChatCall;

/// The prompt that messages become.
///
/// # Errors
/// If the body is wrong, or the template refuses it.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let call = ChatCall::read(&object(&body)?)?;
    let model = app.model(call.model.as_deref()).await?;
    let prompt = blocking(&app, move || Ok(model.model().render(&call.chat)?)).await?;
    Ok(Json(json!({"prompt": prompt})))
}
