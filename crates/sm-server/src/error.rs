//! Errors, and what clients see of them: a status, and a body in the form of the API that was called.
//!
//! Handlers and middleware fail with an [`ApiError`], whichever API they belong to. Its response carries the error itself, and
//! [`envelop`], the outermost layer, writes the body: only there is it known which client asked.

mod envelope;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sm_runtime::{Error, ErrorKind, LimitedResource};

pub(crate) use envelope::Envelope;

use crate::wire::FieldError;

/// Seconds after which a client that was refused for load should come again.
const RETRY_AFTER: &str = "1";

/// Why a server cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("serving failed: {0}")]
    Serve(#[source] std::io::Error),
}

/// The answer to a request that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// The field that is wrong.
    param: Option<String>,
    code: Option<&'static str>,
    /// Whether the body is not what the endpoint takes, as opposed to more than it takes.
    is_schema: bool,
}

impl ApiError {
    /// A field of the body is wrong.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        let param = Some(param.to_owned()).filter(|param| !param.is_empty());
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param, code: None, is_schema: true }
    }

    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, is_schema: false }
    }

    /// The engine ended a request without a result.
    pub(crate) fn no_answer() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request ended without an answer")
    }

    pub(crate) fn draining() -> Self {
        let message = "the server is shutting down; retry later, or on another server";
        Self { code: Some("draining"), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    pub(crate) fn unknown_model(name: &str) -> Self {
        let message = format!("the model {name:?} does not exist; GET /v1/models lists those that do");
        Self {
            param: Some("model".to_owned()),
            code: Some("model_not_found"),
            ..Self::new(StatusCode::NOT_FOUND, message)
        }
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::invalid(&error.field, error.to_string())
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match &error {
            Error::UnknownModel { name, .. } => return Self::unknown_model(name),
            Error::Validation { field, .. } => return Self::invalid(field, message),
            Error::ResourceLimit {
                resource:
                    LimitedResource::Context | LimitedResource::TotalLength | LimitedResource::InputTokens,
                ..
            } => {
                let code = Some("context_length_exceeded");
                return Self { code, ..Self::new(StatusCode::BAD_REQUEST, message) };
            }
            _ => {}
        }
        let status = match error.kind() {
            ErrorKind::InvalidRequest | ErrorKind::Limit => StatusCode::BAD_REQUEST,
            ErrorKind::Overloaded if matches!(error, Error::ShutDown) => return Self::draining(),
            ErrorKind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            // The client has gone, or an administrator has cancelled the request.
            ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the bodies of errors, in the form that the caller expects.
pub(crate) async fn envelop(request: Request, next: Next) -> Response {
    let envelope = Envelope::of_path(request.uri().path());
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<ApiError>() {
        Some(error) => {
            let (mut parts, body) = Json(envelope.body(&error)).into_response().into_parts();
            parts.status = envelope.status(&error);
            parts.headers.extend(std::mem::take(response.headers_mut()));
            Response::from_parts(parts, body)
        }
        None => response,
    }
}
