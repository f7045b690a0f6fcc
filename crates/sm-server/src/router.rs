//! The endpoints.

use std::any::Any;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::app::App;
use crate::error::ApiError;
use crate::middleware::{authorize, identify, read_body};
use crate::{
    admin, anthropic, documents, error, health, llamacpp, metrics_endpoint, ollama, openai, openapi, page,
    replica, responses, text,
};

/// All endpoints of a server.
pub(crate) fn router(app: App) -> Router {
    let max_body_bytes = app.config().max_body_bytes;
    let endpoints = Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics_endpoint::metrics))
        .merge(admin::router())
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*id}", get(openai::models::one))
        .route("/v1/chat/completions", post(openai::chat::create))
        .route("/v1/completions", post(openai::completions::create))
        .route("/v1/embeddings", post(openai::embeddings::create))
        .route("/v1/health", get(health::health))
        .route("/models", get(openai::models::list))
        .route("/chat/completions", post(openai::chat::create))
        .route("/chat/completions/input_tokens", post(openai::chat::count))
        .route("/v1/chat/completions/input_tokens", post(openai::chat::count))
        .route("/predict", post(openai::predict::create))
        .route("/invocations", post(openai::invocations::create))
        .route("/ping", get(health::ready))
        .route("/completion", post(llamacpp::completion::create))
        .route("/completions", post(llamacpp::completion::create))
        .route("/embedding", post(llamacpp::embedding::create))
        .route("/embeddings", post(llamacpp::embedding::create))
        .route("/props", get(llamacpp::props::get))
        .route("/infill", post(llamacpp::infill::create))
        .route("/slots", get(llamacpp::slots::get))
        .route("/slots/{id}", post(llamacpp::slots::change))
        .route("/version", get(replica::version::version))
        .route("/server_info", get(replica::server_info::get))
        .route("/get_server_info", get(replica::server_info::get))
        .route("/model_info", get(replica::model_info::get))
        .route("/get_model_info", get(replica::model_info::get))
        .route("/get_load", get(replica::loads::total))
        .route("/v1/loads", get(replica::loads::get))
        .route("/v1/chat/completions/render", post(replica::render::chat))
        .route("/v1/completions/render", post(replica::render::completion))
        .merge(anthropic::routes())
        .merge(ollama::routes())
        .merge(responses::routes())
        .merge(page::routes())
        .route("/generate", post(documents::generate::generate))
        .route("/generate/stream", post(documents::generate::stream))
        .route("/solve/math", post(documents::math::create))
        .route("/solve/coding", post(documents::coding::create))
        .route("/model/info", get(documents::model_info::get))
        .route("/stats", get(documents::stats::get))
        .route("/openapi.json", get(openapi::json))
        .route("/docs", get(openapi::docs))
        .route("/tokenize", post(text::tokenize::create))
        .route("/tokenizer_info", get(text::tokenizer_info::get))
        .route("/detokenize", post(text::detokenize::create))
        .route("/apply-template", post(text::apply_template::create))
        .fallback(no_such_endpoint)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(max_body_bytes));
    guarded(endpoints, app)
}

/// The endpoint of the second address.
pub(crate) fn metrics_router(app: App) -> Router {
    Router::new()
        .route("/metrics", get(metrics_endpoint::metrics))
        .fallback(no_such_endpoint)
        .layer(middleware::from_fn(error::envelop))
        .with_state(app)
}

/// Puts what every request passes around the endpoints, innermost first.
fn guarded(endpoints: Router<App>, app: App) -> Router {
    let endpoints = endpoints
        .layer(middleware::from_fn_with_state(app.clone(), read_body))
        .layer(middleware::from_fn_with_state(app.clone(), authorize))
        // A handler that panics has failed its own request, and nothing else.
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(error::envelop));
    let endpoints = match cors(&app.config().cors_origins) {
        Some(cors) => endpoints.layer(cors),
        None => endpoints,
    };
    endpoints.layer(middleware::from_fn_with_state(app.clone(), identify)).with_state(app)
}

/// Lets web pages from some origins call, and read the headers that tell of a request.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let allowed = match origins {
        [] => return None,
        // The origin that asks, as llama.cpp answers: without credentials, that is the same as any.
        origins if origins.iter().any(|origin| origin == "*") => AllowOrigin::mirror_request(),
        origins => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let cors = CorsLayer::new().allow_origin(allowed).allow_headers(AllowHeaders::mirror_request());
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::DELETE];
    Some(cors.allow_methods(methods).expose_headers(EXPOSED.map(HeaderName::from_static)))
}

/// Headers that web pages may read.
const EXPOSED: [&str; 9] = [
    "retry-after",
    "server-timing",
    "x-ratelimit-limit-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-request-id",
];

/// What a caller sees of a panic: not its message, which may hold what others have sent.
#[expect(clippy::needless_pass_by_value, reason = "the layer gives the panic away")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = message.unwrap_or("no message"), "a handler panicked");
    let message = "the server failed to answer this request; other requests are not affected";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
}

async fn no_such_endpoint(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no {method} {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}
