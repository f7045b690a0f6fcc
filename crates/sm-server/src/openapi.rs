//! `GET /openapi.json` and `GET /docs`: what the server answers, for programs and for people.
//!
//! The document is made from a table and not derived from types: bodies are read field by field, by names of which many mean the same
//! (`wire/options.rs`), so no type has the shape that a macro would describe. A test compares the table's paths with the router's.

mod document;
mod operations;
mod schemas;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::app::App;
pub(crate) use document::document;
use schemas::Bounds;

/// The document.
pub(crate) async fn json(State(app): State<App>) -> Json<Value> {
    let max_logprobs = app.config().max_logprobs as u64;
    let bounds = app.loaded_default().map(|(_, engine)| Bounds {
        max_logprobs,
        max_token: (engine.model().vocab_size() as u64).saturating_sub(1),
        max_choices: engine.stats().max_running.unwrap_or(1) as u64,
        max_dimensions: engine.model().facts().map_or(u64::MAX, |facts| facts.hidden_size as u64),
    });
    Json(document(bounds.unwrap_or(Bounds { max_logprobs, ..Bounds::default() })))
}

/// A page that shows the document. It asks nobody but this server.
pub(crate) async fn docs() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'",
        ),
    ];
    (headers, include_str!("openapi/docs.html"))
}

#[cfg(test)]
mod tests;
