//! `POST /solve/coding`

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::solve::solve;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::documents::Task;

/// Writes code for a problem, and gives it apart from the text around it.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    solve(Task::Coding, &app, &headers, &body).await
}
