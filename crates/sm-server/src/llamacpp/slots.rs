//! `GET /slots`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;

/// Which places for requests are taken. Sequences have no place of their own here, so the first ones are.
///
/// # Errors
/// If the server does not show them, or the model cannot be loaded.
pub(crate) async fn get(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    if !app.config().shows_slots {
        let message = "this server does not show its slots; start it without --no-slots";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message));
    }
    let model = app.model(None).await?;
    let stats = model.stats();
    let n_slots = stats.max_running.unwrap_or(stats.running);
    let slot = |id| json!({"id": id, "n_ctx": model.context_len(), "is_processing": id < stats.running});
    Ok(Json((0..n_slots).map(slot).collect()))
}
