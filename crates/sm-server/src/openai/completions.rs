//! `POST /v1/completions`

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;

use super::create::create as create_for;
use crate::app::App;
use crate::error::ApiError;
use crate::wire::openai::Endpoint;

/// Continues a prompt.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    create_for(Endpoint::Completions, &app, &body).await
}
