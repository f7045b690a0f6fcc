//! `GET` and `DELETE /v1/responses/{id}`, `GET /v1/responses/{id}/input_items`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::response_store::Stored;
use crate::wire::responses::with_ids;

/// Who asks: responses belong to keys.
pub(super) fn owner() -> Option<String> {
    Call::current().and_then(|call| call.key().map(|key| key.client().to_string()))
}

fn find(app: &App, id: &str) -> Result<Arc<Stored>, ApiError> {
    app.responses().get(id, owner().as_deref()).ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> ApiError {
    let message = format!(
        "response {id:?} not found: it was not stored, was deleted, or is among the oldest, which are forgotten"
    );
    ApiError::new(StatusCode::NOT_FOUND, message)
}

/// A response that was given.
///
/// # Errors
/// If it is not known any more.
pub(crate) async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    Ok(Json(find(&app, &id)?.response.clone()))
}

/// Forgets a response.
///
/// # Errors
/// If it is not known any more.
pub(crate) async fn delete(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    if !app.responses().remove(&id, owner().as_deref()) {
        return Err(not_found(&id));
    }
    Ok(Json(json!({"id": id, "object": "response", "deleted": true})))
}

/// The items of a response's request, the newest first.
///
/// # Errors
/// If it is not known any more.
pub(crate) async fn input_items(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut items = with_ids(&find(&app, &id)?.input, &id);
    items.reverse();
    let id_of = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(Json(json!({
        "object": "list",
        "first_id": id_of(items.first()),
        "last_id": id_of(items.last()),
        "has_more": false,
        "data": items,
    })))
}
