//! `POST /embedding`

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;
use crate::documents::respond::object;
use crate::error::ApiError;
use crate::openai::embeddings::embed_all;
use crate::wire::openai::EmbeddingsCall;

/// Embeds the texts in `content`, in llama.cpp's form: a list of lists of vectors.
///
/// # Errors
/// If the body is wrong, or a text cannot be embedded.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let mut body = object(&body)?;
    if let Some(content) = body.remove("content") {
        body.insert("input".to_owned(), content);
    }
    let mut call = EmbeddingsCall::read(&body)?;
    let model = app.model(call.model.as_deref()).await?;
    let embeddings = embed_all(&app, &model, &mut call).await?;
    let embedded = call.answer(model.name(), &embeddings);
    let data = embedded["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let item = |each: &Value| json!({"index": each["index"], "embedding": [each["embedding"]]});
    Ok(Json(data.iter().map(item).collect()))
}
