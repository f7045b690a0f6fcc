//! The forms of errors.
//!
//! ```json
//! {"error": {"message": "…", "type": "invalid_request_error", "param": "temperature", "code": null}}
//! {"type": "error", "error": {"type": "invalid_request_error", "message": "…"}, "request_id": "…"}
//! {"error": "…"}
//! ```

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::ApiError;

/// The form in which an API writes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// OpenAI's, and that of all endpoints without a form of their own.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Ollama's: only a text.
    Ollama,
}

impl Envelope {
    /// The form for an endpoint.
    pub(crate) fn of_path(path: &str) -> Self {
        if path == "/v1/messages" || path.starts_with("/v1/messages/") {
            return Self::Anthropic;
        }
        if path.starts_with("/api/") {
            return Self::Ollama;
        }
        Self::OpenAi
    }

    /// The body, also the data of an event.
    pub(crate) fn body(self, error: &ApiError) -> Value {
        match self {
            Self::OpenAi => openai(error),
            Self::Anthropic => anthropic(error),
            Self::Ollama => json!({"error": error.message}),
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

/// By <https://platform.claude.com/docs/en/api/errors>.
fn anthropic(error: &ApiError) -> Value {
    let kind = match error.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    };
    let message = match error.code {
        // Agents look for these words and shorten the conversation.
        Some("context_length_exceeded") => format!("prompt is too long: {}", error.message),
        _ => error.message.clone(),
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": null})
}
