//! What Ollama's API has and this server does not: it says so.

use axum::http::{StatusCode, Uri};

use crate::error::ApiError;

/// `POST /api/create`, `/api/copy` and `/api/push`, `DELETE /api/delete`, and `/api/blobs`.
pub(crate) async fn refused(uri: Uri) -> ApiError {
    let what = match uri.path() {
        "/api/delete" => "delete models: remove the file, and leave it out of the command line",
        "/api/copy" => "copy models: --alias gives a model another name",
        "/api/push" => "upload models",
        _ => "make models: `sm quantize` does",
    };
    ApiError::new(StatusCode::NOT_IMPLEMENTED, format!("{}: this server does not {what}", uri.path()))
}
