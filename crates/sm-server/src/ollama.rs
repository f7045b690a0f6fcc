//! The endpoints of Ollama's API, one file each.

mod begin;
mod chat;
mod embed;
mod generate;
mod keep_alive;
mod lines;
mod models;
mod names;
mod pull;
mod refused;
mod version;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::app::App;

/// The endpoints.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/version", get(version::version))
        .route("/api/chat", post(chat::chat))
        .route("/api/generate", post(generate::generate))
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::ps))
        .route("/api/show", post(models::show))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings))
        .route("/api/pull", post(pull::pull))
        .route("/api/delete", delete(refused::refused))
        .route("/api/create", post(refused::refused))
        .route("/api/copy", post(refused::refused))
        .route("/api/push", post(refused::refused))
        .route("/api/blobs/{digest}", post(refused::refused))
}
