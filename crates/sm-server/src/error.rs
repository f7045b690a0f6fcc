//! Errors, and what clients see of them: a status, and a body in the form of the API that was called.
//!
//! Handlers and middleware fail with an [`ApiError`], whichever API they belong to. Its response carries the error itself, and
//! [`envelop`], the outermost layer, writes the body: only there is it known which client asked.

mod envelope;

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sm_runtime::{Error, ErrorKind, LimitedResource};

pub(crate) use envelope::Envelope;

use crate::wire::FieldError;

/// Seconds after which a client that was refused for load should come again, where nothing better is known.
const RETRY_AFTER: u64 = 1;

/// Bytes that are read of an error's text that a library has written.
const MAX_FOREIGN_MESSAGE: usize = 1 << 12;

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
    /// The file of keys cannot be used.
    #[error("cannot use the keys of {}: {message}", path.display())]
    Keys {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The certificate cannot be used.
    #[error("cannot use {} for TLS: {message}", path.display())]
    Tls {
        /// The file, of the certificate or its key.
        path: std::path::PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Redis cannot be used.
    #[error("cannot share limits through Redis: {message}; write redis://HOST:PORT")]
    Redis {
        /// What is wrong with its address.
        message: String,
    },
    /// Traces cannot be sent.
    #[cfg(feature = "otel")]
    #[error("cannot send traces: {message}")]
    Traces {
        /// What is wrong with the settings.
        message: String,
    },
    /// The terms of a content filter cannot be used.
    #[error("cannot filter by these terms: {message}; use fewer")]
    Filter {
        /// What is wrong.
        message: String,
    },
    /// The tabs of the page cannot be used.
    #[error("cannot use these tabs for the page: {message}")]
    Tabs {
        /// What is wrong.
        message: String,
    },
    /// The address of the page's server cannot be used.
    #[error("{url:?} is not the address of a server; write http://HOST:PORT or https://HOST")]
    ApiUrl {
        /// What was given.
        url: String,
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
    /// When to come again, if it is known.
    retry_after: Option<Duration>,
    /// Whether the body is not what the endpoint takes, as opposed to more than it takes.
    is_schema: bool,
    /// Of a prompt that does not fit: its tokens, and those that the context holds.
    overflow: Option<(u64, u64)>,
}

impl ApiError {
    /// A field of the body is wrong.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        let param = Some(param.to_owned()).filter(|param| !param.is_empty());
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param,
            code: None,
            is_schema: true,
            retry_after: None,
            overflow: None,
        }
    }

    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, is_schema: false, ..Self::invalid("", message) }
    }

    /// The engine ended a request without a result.
    pub(crate) fn no_answer() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request ended without an answer")
    }

    pub(crate) fn draining() -> Self {
        let message = "the server is shutting down; retry later, or on another server";
        Self { code: Some("draining"), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// A key is missing or wrong.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self { code: Some("invalid_api_key"), ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    /// The caller may not have this.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self { code: Some("forbidden"), ..Self::new(StatusCode::FORBIDDEN, message) }
    }

    /// The caller has used up a limit of its own.
    pub(crate) fn rate_limited(message: impl std::fmt::Display, wait: Duration) -> Self {
        let seconds = seconds(wait);
        let message = format!("{message}; retry in {seconds} s");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, message);
        Self { code: Some("rate_limit_exceeded"), ..error.retry_after(wait) }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_overload(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Says when to come again.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
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
                    resource @ (LimitedResource::Context
                    | LimitedResource::TotalLength
                    | LimitedResource::InputTokens),
                limit,
                actual,
            } => {
                let code = Some("context_length_exceeded");
                // What a context must hold is the prompt and one token of the answer.
                let n_prompt = actual - u64::from(matches!(resource, LimitedResource::Context));
                let overflow = Some((n_prompt, *limit));
                return Self { code, overflow, ..Self::new(StatusCode::BAD_REQUEST, message) };
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
            let wait = self.retry_after.map_or(RETRY_AFTER, seconds);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Whole seconds for `Retry-After`, rounded up and at least one.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// Writes the bodies of errors, in the form that the caller expects.
pub(crate) async fn envelop(request: Request, next: Next) -> Response {
    let envelope = Envelope::of_path(request.uri().path());
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let mut response = next.run(request).await;
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None => match foreign_error(&mut response).await {
            Some(error) => error,
            None => return response,
        },
    };
    let (mut parts, body) = Json(envelope.body_of(&error, id)).into_response().into_parts();
    parts.status = envelope.status(&error);
    let headers = response.headers_mut();
    // Those of the body that is replaced.
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(std::mem::take(headers));
    let mut response = Response::from_parts(parts, body);
    response.extensions_mut().insert(error);
    response
}

/// The error of a response that a library has made, such as a rejected extractor: plain text, or nothing at all.
async fn foreign_error(response: &mut Response) -> Option<ApiError> {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_text = kind.is_none_or(|kind| kind.starts_with("text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !is_text {
        return None;
    }
    let body = std::mem::take(response.body_mut());
    let text = axum::body::to_bytes(body, MAX_FOREIGN_MESSAGE).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let name = status.canonical_reason().unwrap_or("error");
    Some(ApiError::new(status, if text.is_empty() { name } else { &text }))
}
