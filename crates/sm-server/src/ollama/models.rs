//! `GET /api/tags`, `POST /api/show`, `GET /api/ps`

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};
use sm_runtime::{Engine, ModelInfo};

use super::names;
use crate::app::App;
use crate::error::ApiError;
use crate::openai::create::parse;
use crate::wire::ollama::{ModelEntry, capabilities, details, model_info, parameters, timestamp};

/// When a model expires that stays loaded: as far away as Ollama puts it, which clients show as "forever".
const FOREVER: Duration = Duration::from_secs(292 * 365 * 24 * 3600);

/// All models, by name and alias.
pub(crate) async fn tags(State(app): State<App>) -> Json<Value> {
    let started = started(&app);
    let loaded: HashMap<String, Engine> = app.models().loaded().into_iter().collect();
    let models = app.models().list().into_iter().flat_map(|ModelInfo { name, aliases, .. }| {
        let engine = loaded.get(&name);
        let names = [name].into_iter().chain(aliases);
        names.map(move |name| entry(&name, engine).listed(started)).collect::<Vec<_>>()
    });
    Json(json!({"models": models.collect::<Vec<_>>()}))
}

/// The models that are loaded.
pub(crate) async fn ps(State(app): State<App>) -> Json<Value> {
    let models = app.models().loaded().into_iter().map(|(name, engine)| {
        let expires = SystemTime::now() + app.expiries().left(&name).unwrap_or(FOREVER);
        entry(&name, Some(&engine)).running(expires, engine.context_len())
    });
    Json(json!({"models": models.collect::<Vec<_>>()}))
}

fn started(app: &App) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(app.started())
}

fn entry(name: &str, engine: Option<&Engine>) -> ModelEntry {
    let model = engine.map(Engine::model);
    ModelEntry {
        name: names::tagged(name),
        weight_bytes: model.map_or(0, |model| model.weight_bytes() as u64),
        details: details(model.and_then(|model| model.facts())),
    }
}

/// One model; loads it if it is not loaded, since its files tell what it is.
///
/// # Errors
/// If there is none, or it cannot be loaded.
pub(crate) async fn show(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let body = parse(&body)?;
    let given = names::given(&app, &body)?;
    let name = names::find(&app, &given)?.name;
    let handle = app.model(Some(&name)).await?;
    let model = handle.model();
    let template = model.chat_template().ok();
    let parameters = parameters(model.sampling_defaults());
    let modelfile: Vec<String> = [format!("FROM {name}")]
        .into_iter()
        .chain(parameters.lines().map(|line| format!("PARAMETER {line}")))
        .collect();
    Ok(Json(json!({
        "modelfile": modelfile.join("\n"),
        "parameters": parameters,
        "template": template.map(|template| template.source(false)).unwrap_or_default(),
        "details": details(model.facts()),
        "model_info": model.facts().map_or_else(|| json!({}), |facts| model_info(facts, model.vocab_size())),
        "capabilities": capabilities(template),
        "modified_at": timestamp(started(&app)),
    })))
}
