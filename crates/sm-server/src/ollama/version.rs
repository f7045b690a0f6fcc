//! `GET /api/version`, by which clients find out what they can ask.

use axum::Json;
use serde_json::{Value, json};

/// The version of Ollama whose API this is. Clients compare it with the one that brought what they need: VS Code wants 0.6.4,
/// Codex 0.13.4.
const VERSION: &str = "0.13.5";

/// The version.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({"version": VERSION}))
}
