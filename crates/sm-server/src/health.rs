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

/// 200 once the default model is loaded, and while it is unloaded for idleness: the next request loads it. 503 while it loads,
/// with how far that is, after loading has failed, and while the server drains.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let name = &app.config().default_model;
    let models = app.models().list();
    let model = models.iter().find(|model| model.name == *name || model.aliases.contains(name));
    let first_load = app.first_load();
    let state = match model.map(|model| model.state) {
        _ if app.is_draining() => "draining",
        Some(ModelState::Ready) => "ready",
        Some(ModelState::Loading) => "loading",
        Some(_) => match first_load {
            Some(Ok(())) => "ready",
            Some(Err(_)) => "failed",
            None => "loading",
        },
        None => "unknown model",
    };
    let mut body = json!({"status": state, "model": name});
    match state {
        "loading" => {
            let share = model.and_then(|model| app.config().loading.share(&model.name));
            body["progress"] = json!(share.unwrap_or(0.0));
        }
        "failed" => body["error"] = json!(first_load.and_then(|load| load.as_ref().err())),
        _ => {}
    }
    let status = if state == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
