//! `POST /solve/math`

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::solve::solve;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::documents::Task;

/// Solves a mathematical problem step by step, and tells the answer apart.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    solve(Task::Math, &app, &headers, &body).await
}
