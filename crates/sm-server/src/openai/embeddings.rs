//! `POST /v1/embeddings`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::Value;
use sm_runtime::{Embedding, ModelHandle, Pooling, Prompt, Request};

use crate::app::App;
use crate::documents::respond::object;
use crate::error::ApiError;
use crate::generation::complete_all;
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

/// Embeds prompts in their order.
///
/// # Errors
/// That of the first prompt that fails.
pub(crate) async fn embed_all(
    app: &App,
    model: &ModelHandle,
    prompts: Vec<Prompt>,
    pooling: Pooling,
) -> Result<Vec<Embedding>, ApiError> {
    let requests = prompts.into_iter().map(|prompt| Request::embed(prompt, pooling)).collect();
    let completions = complete_all(app, model, requests).await?;
    Ok(completions.into_iter().map(Embedding::of_completion).collect())
}
