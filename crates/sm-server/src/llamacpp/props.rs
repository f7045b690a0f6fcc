//! `GET /props`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use sm_runtime::Engine;

use crate::app::App;
use crate::error::ApiError;
use crate::wire::llamacpp::settings;

/// What the default model is, and the options of requests that set none. Neither wakes a model that sleeps (`--idle-unload`) nor
/// keeps it awake.
///
/// # Errors
/// If the model cannot be loaded.
pub(crate) async fn get(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    if let Some((name, engine)) = app.loaded_default() {
        return Ok(Json(props(&app, &name, &engine)));
    }
    if let Some(mut props) = app.props() {
        props["is_sleeping"] = true.into();
        return Ok(Json(props));
    }
    let model = app.model(None).await?;
    Ok(Json(props(&app, model.name(), &model)))
}

/// Notes what the default model is, for when it sleeps.
pub(crate) fn remember(app: &App) {
    if let Some((name, engine)) = app.loaded_default() {
        app.set_props(props(app, &name, &engine));
    }
}

fn props(app: &App, name: &str, engine: &Engine) -> Value {
    let options = app.defaults(engine);
    let tokenizer = engine.tokenizer().map(|tokenizer| &**tokenizer);
    let special = |of: fn(&sm_runtime::model::tokenizer::Vocabulary) -> Option<sm_runtime::TokenId>| {
        let vocabulary = tokenizer?.vocabulary();
        Some(vocabulary.text_of(of(vocabulary)))
    };
    json!({
        "default_generation_settings": {
            "n_ctx": engine.context_len(),
            "params": settings(&options, options.sampling.seed, tokenizer),
        },
        "total_slots": engine.stats().max_running,
        "model_path": app.config().model_path,
        "model_alias": name,
        "modalities": {"vision": false, "audio": false},
        "bos_token": special(|vocabulary| vocabulary.bos()),
        "eos_token": special(|vocabulary| vocabulary.eos()),
        "build_info": concat!("smallmind ", env!("CARGO_PKG_VERSION")),
        "is_sleeping": false,
    })
}
