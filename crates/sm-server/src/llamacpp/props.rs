//! `GET /props`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::wire::llamacpp::settings;

/// What the default model is, and the options of requests that set none.
///
/// # Errors
/// If the model cannot be loaded.
pub(crate) async fn get(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let model = app.model(None).await?;
    let options = app.defaults(&model);
    let tokenizer = model.tokenizer().map(|tokenizer| &**tokenizer);
    let special = |of: fn(&sm_runtime::model::tokenizer::Vocabulary) -> Option<sm_runtime::TokenId>| {
        let vocabulary = tokenizer?.vocabulary();
        Some(vocabulary.text_of(of(vocabulary)))
    };
    Ok(Json(json!({
        "default_generation_settings": {
            "n_ctx": model.context_len(),
            "params": settings(&options, options.sampling.seed, tokenizer),
        },
        "total_slots": model.stats().max_running,
        "model_path": app.config().model_path,
        "model_alias": model.name(),
        "modalities": {"vision": false, "audio": false},
        "bos_token": special(|vocabulary| vocabulary.bos()),
        "eos_token": special(|vocabulary| vocabulary.eos()),
        "build_info": concat!("smallmind ", env!("CARGO_PKG_VERSION")),
        "is_sleeping": false,
    })))
}
