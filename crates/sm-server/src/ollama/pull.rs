//! `POST /api/pull`: the models of the server are here already.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{lines, names};
use crate::app::App;
use crate::error::ApiError;
use crate::openai::create::parse;
use crate::wire::options;

/// Succeeds at once for a model that the server has, as Ollama does for one that is up to date.
///
/// # Errors
/// If the server does not have it, or the body is wrong.
pub(crate) async fn pull(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let name = names::given(&app, &body)?;
    names::find(&app, &name).map_err(|_| {
        let message = format!("pull '{name}': this server downloads no models; start it with -m {name} if it is a file or folder");
        ApiError::new(StatusCode::NOT_FOUND, message)
    })?;
    let is_stream = body.get("stream").filter(|it| !it.is_null()).map_or(Ok(true), options::flag);
    let is_stream = is_stream.map_err(|message| ApiError::invalid("stream", format!("stream: {message}")))?;
    let [manifest, success] = ["pulling manifest", "success"].map(|status| json!({"status": status}));
    Ok(if is_stream { lines::of(&[manifest, success]) } else { Json::<Value>(success).into_response() })
}
