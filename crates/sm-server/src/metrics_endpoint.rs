//! `GET /metrics`: everything that is measured, in Prometheus' text format.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::ApiError;
use crate::metrics::CONTENT_TYPE;

/// All metrics.
///
/// # Errors
/// If they cannot be written, which is a fault of the server.
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app.metrics().text(&app.models().loaded());
    let text = text.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
