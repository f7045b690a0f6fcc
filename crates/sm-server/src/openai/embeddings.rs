//! `POST /v1/embeddings`

use std::collections::VecDeque;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::Value;
use sm_runtime::{EmbedHandle, Embedding, ModelHandle, Pooling, Prompt};

use crate::app::App;
use crate::documents::respond::object;
use crate::error::ApiError;
use crate::generation::blocking;
use crate::wire::openai::EmbeddingsCall;

/// Embeds texts.
///
/// # Errors
/// If the body is wrong, or a text cannot be embedded.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let mut call = EmbeddingsCall::read(&object(&body)?)?;
    let model = app.model(call.model.as_deref()).await?;
    let inputs = std::mem::take(&mut call.inputs);
    let embeddings = embed_all(&app, &model, inputs, call.pooling).await?;
    Ok(Json(call.answer(model.name(), &embeddings)?))
}

/// Embeds prompts in their order. As many are in the engine as it runs at a time, so that those of a long list leave its queue to
/// others.
///
/// # Errors
/// That of the first prompt that fails.
pub(crate) async fn embed_all(
    app: &App,
    model: &ModelHandle,
    prompts: Vec<Prompt>,
    pooling: Pooling,
) -> Result<Vec<Embedding>, ApiError> {
    let n_parallel = model.stats().max_running.unwrap_or(8).max(1);
    let mut running = VecDeque::<EmbedHandle>::with_capacity(n_parallel);
    let mut done = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        if running.len() == n_parallel
            && let Some(first) = running.pop_front()
        {
            done.push(first.await?);
        }
        let model = model.clone();
        running.push_back(blocking(app, move || Ok(model.embed(prompt, pooling)?)).await?);
    }
    for handle in running {
        done.push(handle.await?);
    }
    Ok(done)
}
