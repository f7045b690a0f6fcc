//! `POST /v1/embeddings`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::Value;
use sm_runtime::{Embedding, ModelHandle, Request};

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
    let embeddings = embed_all(&app, &model, &mut call).await?;
    Ok(Json(call.answer(model.name(), &embeddings)))
}

/// Embeds the texts of a call, which it takes, in their order.
///
/// # Errors
/// If the call does not fit the model, or that of the first text that fails.
pub(crate) async fn embed_all(
    app: &App,
    model: &ModelHandle,
    call: &mut EmbeddingsCall,
) -> Result<Vec<Embedding>, ApiError> {
    call.check(model.model().facts())?;
    let inputs = std::mem::take(&mut call.inputs);
    let requests = inputs.into_iter().map(|prompt| Request::embed(prompt, call.pooling)).collect();
    let completions = complete_all(app, model, requests).await?;
    Ok(completions.into_iter().map(Embedding::of_completion).collect())
}
