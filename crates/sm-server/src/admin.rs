//! The endpoints of administrators, under `/admin`. Each needs a key that says `admin = true`.
//!
//! | endpoint | body | |
//! |---|---|---|
//! | `GET /admin/models` | | all models, with their states and memory |
//! | `POST /admin/models/load` | `{"model"}` | loads a model, and answers when it is loaded |
//! | `POST /admin/models/unload` | `{"model", "grace_seconds"}` | unloads it; its requests have so long to finish |
//! | `POST /admin/drain`, `POST /admin/resume` | | refuses new requests, takes them again |
//! | `POST /admin/log-level` | `{"level"}` | changes what is logged |
//! | `POST /admin/cache/reset` | | forgets all cached answers, and cached prefixes that no request holds |
//! | `POST /admin/reconfigure` | `{"model", "max_batch_size", …}` | changes an engine without a restart |

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sm_runtime::{ByteSize, Engine, Error, ModelInfo, ModelState};

use crate::app::App;
use crate::error::ApiError;

/// All endpoints.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/admin/models", get(models))
        .route("/admin/models/load", post(load))
        .route("/admin/models/unload", post(unload))
        .route("/admin/drain", post(drain))
        .route("/admin/resume", post(resume))
        .route("/admin/log-level", post(log_level))
        .route("/admin/cache/reset", post(reset_cache))
        .route("/admin/reconfigure", post(reconfigure))
}

type Answer = Result<Json<Value>, ApiError>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneModel {
    model: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unload {
    model: String,
    #[serde(default)]
    grace_seconds: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconfigure {
    model: Option<String>,
    max_batch_size: Option<usize>,
    max_queued_requests: Option<usize>,
    max_step_tokens: Option<usize>,
    context_len: Option<usize>,
    kv_bytes: Option<u64>,
}

/// Reads a body.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid("", format!("the body is wrong: {error}")))
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, ApiError> {
    let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the task panicked");
    Ok(tokio::task::spawn_blocking(what).await.map_err(broken)??)
}

async fn models(State(app): State<App>) -> Json<Value> {
    let models: Vec<Value> = app.models().list().iter().map(described).collect();
    let used = ByteSize(app.models().used_bytes()).to_string();
    Json(json!({"models": models, "memory": used, "is_draining": app.is_draining()}))
}

fn described(model: &ModelInfo) -> Value {
    let state = match model.state {
        ModelState::Loading => "loading",
        ModelState::Ready => "ready",
        ModelState::Unloading => "unloading",
        _ => "unloaded",
    };
    let ModelInfo { name, aliases, n_uses, memory_bytes, .. } = model;
    json!({"name": name, "aliases": aliases, "state": state, "uses": n_uses, "memory_bytes": memory_bytes})
}

async fn load(State(app): State<App>, body: Bytes) -> Answer {
    let OneModel { model } = read(&body)?;
    let handle = app.model(Some(&model)).await?;
    Ok(Json(json!({"status": "ready", "model": handle.name()})))
}

async fn unload(State(app): State<App>, body: Bytes) -> Answer {
    let Unload { model, grace_seconds } = read(&body)?;
    let grace = Duration::try_from_secs_f64(grace_seconds).map_err(|_| {
        ApiError::invalid("grace_seconds", format!("grace_seconds: must be 0 or more, not {grace_seconds}"))
    })?;
    let models = app.models().clone();
    let name = model.clone();
    blocking(move || models.unload(&name, grace)).await?;
    Ok(Json(json!({"status": "unloaded", "model": model})))
}

async fn drain(State(app): State<App>) -> Json<Value> {
    app.drain();
    tracing::warn!("draining: an administrator has asked for it");
    Json(json!({"status": "draining"}))
}

async fn resume(State(app): State<App>) -> Json<Value> {
    app.resume();
    tracing::warn!("taking requests again: an administrator has asked for it");
    Json(json!({"status": "healthy"}))
}

async fn log_level(State(app): State<App>, body: Bytes) -> Answer {
    let Level { level } = read(&body)?;
    let Some(set) = &app.config().log_level else {
        let message = "this program does not let the level of its log change";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message));
    };
    (set.0)(&level).map_err(|message| ApiError::invalid("level", message))?;
    Ok(Json(json!({"status": "changed", "level": level})))
}

async fn reset_cache(State(app): State<App>) -> Answer {
    app.response_cache().clear();
    let models = app.models().clone();
    let held_bytes = blocking(move || models.trim_memory()).await?;
    Ok(Json(json!({"status": "reset", "held_bytes": held_bytes})))
}

async fn reconfigure(State(app): State<App>, body: Bytes) -> Answer {
    let wanted: Reconfigure = read(&body)?;
    let name = wanted.model.clone().unwrap_or_else(|| app.config().default_model.clone());
    let handle = app.model(Some(&name)).await?;
    let engine = Engine::clone(&handle);
    blocking(move || apply(&wanted, &engine)).await?;
    Ok(Json(json!({"status": "changed", "model": handle.name()})))
}

/// Changes an engine, all values or none where one call can tell.
fn apply(wanted: &Reconfigure, engine: &Engine) -> Result<(), Error> {
    let mut batching = engine.batching()?;
    let before = batching.clone();
    let set = |field: &mut usize, value: Option<usize>| *field = value.unwrap_or(*field);
    set(&mut batching.max_batch_size, wanted.max_batch_size);
    set(&mut batching.max_queued_requests, wanted.max_queued_requests);
    set(&mut batching.max_step_tokens, wanted.max_step_tokens);
    if batching != before {
        engine.reconfigure(batching)?;
    }
    if let Some(context_len) = wanted.context_len {
        engine.set_context_len(context_len)?;
    }
    if let Some(kv_bytes) = wanted.kv_bytes {
        engine.set_kv_bytes(kv_bytes)?;
    }
    Ok(())
}
