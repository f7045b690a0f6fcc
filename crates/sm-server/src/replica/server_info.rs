//! `GET /server_info`, which older routers call `/get_server_info`.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;

/// What the default model is and takes, in SGLang's words: the fields that smg reads (`ServerInfo` in
/// `core/steps/worker/local/discover_metadata.rs`), and its own settings where they have a meaning here. Both `model_id` and `model`
/// would be one field twice for smg.
///
/// # Errors
/// If the model cannot be loaded.
pub(crate) async fn get(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let model = app.model(None).await?;
    let stats = model.stats();
    let block_size = model.memory_plan(0, 0).pool.page_len;
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model_id": model.name(),
        "served_model_name": model.name(),
        "model_path": app.config().model_path,
        "tokenizer_path": app.config().model_path,
        "context_length": model.context_len(),
        "max_running_requests": stats.max_running,
        "max_total_num_tokens": stats.cache.n_pages * block_size,
        "block_size": block_size,
        "page_size": block_size,
        "tp_size": 1,
        "dp_size": 1,
        "device": model.info().kernels,
    })))
}
