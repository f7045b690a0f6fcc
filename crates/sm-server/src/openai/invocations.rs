//! `POST /invocations`: a chat or a text, as Amazon SageMaker sends either to containers.
//! <https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html>

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;

use super::create::{create as create_for, parse};
use crate::app::App;
use crate::error::ApiError;
use crate::wire::openai::Endpoint;

/// Answers messages, or continues a prompt: whichever the body has.
///
/// # Errors
/// If the body is wrong, or the request fails before the answer begins.
pub(crate) async fn create(State(app): State<App>, body: Bytes) -> Result<Response, ApiError> {
    let is_chat = parse(&body)?.contains_key("messages");
    let endpoint = if is_chat { Endpoint::ChatCompletions } else { Endpoint::Completions };
    create_for(endpoint, &app, &body).await
}
