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
    if !app.config().shows_metrics {
        let message = "this server does not show its metrics; start it without --no-metrics";
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, message));
    }
    let text = app.metrics().text(&app.models().loaded());
    let text = text.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let started = app.started().to_string();
    let headers = [(header::CONTENT_TYPE.as_str(), CONTENT_TYPE), ("process-start-time-unix", &started)];
    Ok((headers, text).into_response())
}
