//! The forms of errors.
//!
//! ```json
//! {"error": {"message": "…", "type": "invalid_request_error", "param": "temperature", "code": null}}
//! ```

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::ApiError;

/// The form in which an API writes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// OpenAI's, and that of all endpoints without a form of their own.
    OpenAi,
}

impl Envelope {
    /// The form for an endpoint.
    pub(crate) fn of_path(_path: &str) -> Self {
        Self::OpenAi
    }

    /// The body, also the data of an event.
    pub(crate) fn body(self, error: &ApiError) -> Value {
        match self {
            Self::OpenAi => openai(error),
        }
    }
}

fn openai(error: &ApiError) -> Value {
    let kind = match error.status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": error.code,
    }})
}
