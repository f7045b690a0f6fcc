//! `GET /model/info`

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use sm_runtime::{ModelHandle, ModelState};

use crate::app::App;
use crate::error::ApiError;

/// Which model.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// The default model if it names none.
    model: Option<String>,
}

/// What is known of a model.
#[derive(Debug, Serialize)]
pub(crate) struct Info {
    name: String,
    aliases: Vec<String>,
    /// The other models are only loaded when a request asks for them.
    models: Vec<Listed>,
    vocab_size: usize,
    context_length: usize,
    has_tokenizer: bool,
    has_chat_template: bool,
    /// What computes it, for instance `cpu avx512-vnni`.
    device: String,
    workers: usize,
    weight_bytes: usize,
    kv_cache_bytes: usize,
    activation_bytes: usize,
    max_concurrent: Option<usize>,
    /// What the model's authors recommend.
    sampling: Sampling,
}

/// A model by name.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    state: &'static str,
}

#[derive(Debug, Serialize)]
struct Sampling {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
}

/// Tells of a model, which is loaded if it was not.
///
/// # Errors
/// If there is no such model, or it cannot be loaded.
pub(crate) async fn get(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Info>, ApiError> {
    let Query(asked) = asked.map_err(|error| ApiError::invalid("", error.body_text()))?;
    let model = app.model(asked.model.as_deref()).await?;
    Ok(Json(info(&app, &model)))
}

fn info(app: &App, model: &ModelHandle) -> Info {
    let all = app.models().list();
    let aliases = all.iter().find(|each| each.name == model.name()).map(|each| each.aliases.clone());
    let executor = model.info();
    let defaults = sm_runtime::SamplingOptions::of_model(model.model().sampling_defaults());
    Info {
        name: model.name().to_owned(),
        aliases: aliases.unwrap_or_default(),
        models: all.into_iter().map(|each| Listed { name: each.name, state: state(each.state) }).collect(),
        vocab_size: model.model().vocab_size(),
        context_length: model.context_len(),
        has_tokenizer: model.tokenizer().is_some(),
        has_chat_template: model.chat_template().is_ok(),
        device: executor.kernels.clone(),
        workers: executor.n_workers,
        weight_bytes: executor.weight_bytes,
        kv_cache_bytes: executor.kv_bytes,
        activation_bytes: executor.activation_bytes,
        max_concurrent: model.stats().max_running,
        sampling: Sampling {
            temperature: defaults.temperature,
            top_k: defaults.top_k,
            top_p: defaults.top_p,
            min_p: defaults.min_p,
            repetition_penalty: defaults.repetition_penalty,
        },
    }
}

/// The name of a state.
pub(super) fn state(state: ModelState) -> &'static str {
    match state {
        ModelState::Loading => "loading",
        ModelState::Ready => "ready",
        ModelState::Unloading => "unloading",
        _ => "unloaded",
    }
}
