//! `GET /health`: is the process alive? `GET /ready`: may requests be sent to it?

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sm_runtime::ModelState;

use crate::app::App;

/// `{"status": "healthy"}` with 200; 503 while the server drains.
pub(crate) async fn health(State(app): State<App>) -> Response {
    match app.is_draining() {
        false => Json(json!({"status": "healthy"})).into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "draining"}))).into_response(),
    }
}

/// 200 once the default model is loaded; 503 while it loads, and while the server drains.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let name = &app.config().default_model;
    let models = app.models().list();
    let model = models.iter().find(|model| model.name == *name || model.aliases.contains(name));
    let state = match model.map(|model| model.state) {
        _ if app.is_draining() => "draining",
        Some(ModelState::Ready) => "ready",
        Some(ModelState::Loading) => "loading",
        _ => "unloaded",
    };
    let status = if state == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"status": state, "model": name}))).into_response()
}
