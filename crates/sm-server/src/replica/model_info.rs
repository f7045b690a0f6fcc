//! `GET /model_info`, which older routers call `/get_model_info`.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;

/// What the default model is, in SGLang's words (`model_info` in `python/sglang/srt/entrypoints/http_server.py`). smg makes labels of
/// `model_type` and `architectures`, of which there are none here: files of llama.cpp do not have them.
///
/// # Errors
/// If the model cannot be loaded.
pub(crate) async fn get(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let model = app.model(None).await?;
    let path = &app.config().model_path;
    Ok(Json(json!({
        "model_path": path,
        "tokenizer_path": path,
        "is_generation": true,
        "preferred_sampling_params": null,
        "weight_version": "default",
        "has_image_understanding": false,
        "has_audio_understanding": false,
        "model_type": model.model().facts().map(|facts| facts.architecture),
        "architectures": null,
    })))
}
