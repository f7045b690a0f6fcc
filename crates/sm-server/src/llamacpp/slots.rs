//! `GET /slots`, `POST /slots/{id}`

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
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

/// What is to become of a slot.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    action: String,
}

/// Refuses to save, restore or erase a slot, and says what does the same here. Prompts share what is cached by its contents, so a
/// file of one slot would hold pages of others, and erasing one would take them from others.
///
/// # Errors
/// Always.
pub(crate) async fn change(asked: Result<Query<Asked>, QueryRejection>) -> Result<Json<Value>, ApiError> {
    let Query(Asked { action }) = asked.map_err(|error| ApiError::invalid("action", error.body_text()))?;
    let instead = match action.as_str() {
        "" | "save" | "restore" => {
            "start the server with --kv-disk DIR, which keeps prefixes across restarts"
        }
        "erase" => {
            "send \"cache_prompt\": false with a prompt to compute it anew, or POST /admin/cache/reset to forget all prefixes"
        }
        _ => {
            let message = format!("action: must be save, restore or erase, not {action:?}");
            return Err(ApiError::invalid("action", message));
        }
    };
    let message = format!("slots have no memory of their own here: prompts share what is cached; {instead}");
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message))
}
