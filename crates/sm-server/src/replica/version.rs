//! `GET /version`

use axum::Json;
use serde_json::{Value, json};

/// The version of the server, as vLLM tells its own.
pub(crate) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}
