//! `POST /api/embed` and, as old clients have it, `POST /api/embeddings`.

use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use super::begin::{Named, load};
use super::keep_alive::AfterUse;
use crate::app::App;
use crate::error::ApiError;
use crate::openai::create::parse;
use crate::openai::embeddings::embed_all;
use crate::wire::ollama::{EmbedAsk, EmbedForm};

/// The vectors of one text or several; without texts, loads the model.
///
/// # Errors
/// If the body is wrong, or a text cannot be embedded.
pub(crate) async fn embed(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    vectors(&app, &body, EmbedForm::Embed).await
}

/// The vector of a text, of any length.
///
/// # Errors
/// As [`embed`].
pub(crate) async fn embeddings(State(app): State<App>, body: Bytes) -> Result<Json<Value>, ApiError> {
    vectors(&app, &body, EmbedForm::Embeddings).await
}

async fn vectors(app: &App, body: &[u8], form: EmbedForm) -> Result<Json<Value>, ApiError> {
    let body = parse(body)?;
    let began = Instant::now();
    let Named { given, name, model, load } = load(app, &body).await?;
    let EmbedAsk { mut call, keep_alive } = EmbedAsk::read(&body, form)?;
    let _after_use = AfterUse::new(app.expiries().clone(), &name, keep_alive);
    let embeddings = embed_all(app, &model, &mut call).await?;
    let mut embedded = call.answer(&name, &embeddings);
    let vectors = embedded["data"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let mut vectors: Vec<Value> = vectors.into_iter().map(|mut item| item["embedding"].take()).collect();
    Ok(Json(match form {
        EmbedForm::Embeddings => json!({"embedding": vectors.pop().unwrap_or_else(|| json!([]))}),
        EmbedForm::Embed => json!({
            "model": given,
            "embeddings": vectors,
            "total_duration": began.elapsed().as_nanos() as u64,
            "load_duration": load.as_nanos() as u64,
            "prompt_eval_count": embedded["usage"]["prompt_tokens"],
        }),
    }))
}
