//! The endpoints.

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::error::ApiError;
use crate::{anthropic, documents, error, health, llamacpp, ollama, openai, responses, text};

/// All endpoints of a server.
pub(crate) fn router(app: App) -> Router {
    let max_body_bytes = app.config().max_body_bytes;
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::one))
        .route("/v1/chat/completions", post(openai::chat::create))
        .route("/v1/completions", post(openai::completions::create))
        .route("/v1/embeddings", post(openai::embeddings::create))
        .route("/v1/health", get(health::health))
        .route("/models", get(openai::models::list))
        .route("/chat/completions", post(openai::chat::create))
        .route("/completion", post(llamacpp::completion::create))
        .route("/completions", post(llamacpp::completion::create))
        .route("/embedding", post(llamacpp::embedding::create))
        .route("/embeddings", post(llamacpp::embedding::create))
        .route("/props", get(llamacpp::props::get))
        .route("/slots", get(llamacpp::slots::get))
        .merge(anthropic::routes())
        .merge(ollama::routes())
        .merge(responses::routes())
        .route("/generate", post(documents::generate::generate))
        .route("/generate/stream", post(documents::generate::stream))
        .route("/solve/math", post(documents::math::create))
        .route("/solve/coding", post(documents::coding::create))
        .route("/model/info", get(documents::model_info::get))
        .route("/stats", get(documents::stats::get))
        .route("/tokenize", post(text::tokenize::create))
        .route("/detokenize", post(text::detokenize::create))
        .route("/apply-template", post(text::apply_template::create))
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(max_body_bytes))
        // A handler that panics has failed its own request, and nothing else.
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(error::envelop))
        .with_state(app)
}

async fn no_such_endpoint(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no {method} {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}
