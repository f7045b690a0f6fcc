//! `GET /` and `GET /api/version`, by which clients find out whether Ollama runs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;

/// The version of Ollama whose API this is. Clients compare it with the one that brought what they need: VS Code wants 0.6.4,
/// Codex 0.13.4.
const VERSION: &str = "0.13.5";

/// A page for people who come with a browser. It contains the sentence by which programs know Ollama.
const PAGE: &str = "\
<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>SmallMind</title>
<p>SmallMind speaks this API: Ollama is running
<p><a href=\"docs\">All endpoints</a>, <a href=\"v1/models\">the models</a>, <a href=\"stats\">what the engines do</a>
";

/// The page.
///
/// # Errors
/// If the server has none.
pub(crate) async fn root(State(app): State<App>) -> Result<Html<&'static str>, ApiError> {
    match app.config().shows_page {
        true => Ok(Html(PAGE)),
        false => {
            Err(ApiError::new(StatusCode::NOT_FOUND, "this server has no page; start it without --no-ui"))
        }
    }
}

/// The version.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({"version": VERSION}))
}
