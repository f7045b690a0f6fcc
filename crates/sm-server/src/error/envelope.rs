//! The forms of errors.
//!
//! ```json
//! {"error": {"message": "…", "type": "invalid_request_error", "param": "temperature", "code": null}}
//! {"type": "error", "error": {"type": "invalid_request_error", "message": "…"}, "request_id": "…"}
//! {"error": "…"}
//! {"error": "…", "detail": "…", "code": "VALIDATION_ERROR"}
//! {"error": {"code": 400, "message": "…", "type": "invalid_request_error", "param": "prompt"}}
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
    /// llama.cpp's, at its own paths.
    LlamaCpp,
    /// That of SmallMind's original documents, one of which has `error`, the other `detail`.
    Documents,
}

impl Envelope {
    /// The form for an endpoint.
    pub(crate) fn of_path(path: &str) -> Self {
        const DOCUMENTS: [&str; 10] = [
            "/generate",
            "/generate/stream",
            "/solve/math",
            "/solve/coding",
            "/model/info",
            "/stats",
            "/tokenize",
            "/tokenizer_info",
            "/detokenize",
            "/apply-template",
        ];
        const LLAMA_CPP: [&str; 10] = [
            "/completion",
            "/completions",
            "/embedding",
            "/embeddings",
            "/infill",
            "/props",
            "/slots",
            "/chat/completions",
            "/chat/completions/input_tokens",
            "/responses",
        ];
        match path {
            _ if LLAMA_CPP.contains(&path) || path.starts_with("/slots/") => Self::LlamaCpp,
            _ if DOCUMENTS.contains(&path) => Self::Documents,
            _ if path == "/v1/messages" || path.starts_with("/v1/messages/") => Self::Anthropic,
            _ if path.starts_with("/api/") => Self::Ollama,
            _ => Self::OpenAi,
        }
    }

    /// The status: the documents tell a body of the wrong form from one that asks for too much.
    pub(crate) fn status(self, error: &ApiError) -> StatusCode {
        match self {
            Self::Documents if error.is_schema => StatusCode::UNPROCESSABLE_ENTITY,
            _ => error.status,
        }
    }

    /// The body, with the request's id if the form has a place for it.
    pub(crate) fn body_of(self, error: &ApiError, request_id: Option<String>) -> Value {
        let mut body = self.body(error);
        if self == Self::Anthropic {
            body["request_id"] = request_id.into();
        }
        body
    }

    /// The body, also the data of an event.
    pub(crate) fn body(self, error: &ApiError) -> Value {
        match self {
            Self::OpenAi => openai(error),
            Self::Anthropic => anthropic(error),
            Self::Ollama => json!({"error": error.message}),
            Self::Documents => documents(error),
            Self::LlamaCpp => llamacpp(error),
        }
    }
}

/// By `format_error_response` of llama.cpp's server, with the field that is wrong.
fn llamacpp(error: &ApiError) -> Value {
    let kind = match error.status {
        _ if error.overflow.is_some() => "exceed_context_size_error",
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::NOT_IMPLEMENTED => "not_supported_error",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    };
    let mut body = json!({
        "code": error.status.as_u16(),
        "message": error.message,
        "type": kind,
        "param": error.param,
    });
    if let Some((n_prompt_tokens, n_ctx)) = error.overflow {
        // Agents look for these words and shorten the conversation.
        body["message"] = format!("the request exceeds the available context size: {}", error.message).into();
        body["n_prompt_tokens"] = n_prompt_tokens.into();
        body["n_ctx"] = n_ctx.into();
    }
    json!({ "error": body })
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
    let mut body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": null});
    // Helpers of the SDKs that would leave the conversation to the server read here that they must not.
    if error.param.as_deref() == Some("thread") {
        body["error"]["details"] =
            json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
    }
    body
}

fn documents(error: &ApiError) -> Value {
    let code = match (error.status, error.code) {
        (_, Some("context_length_exceeded")) => "CONTEXT_LIMIT_EXCEEDED",
        (_, Some("model_not_found")) => "UNKNOWN_MODEL",
        _ if error.is_schema => "VALIDATION_ERROR",
        (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => "INVALID_API_KEY",
        (StatusCode::NOT_FOUND, _) => "NOT_FOUND",
        (StatusCode::TOO_MANY_REQUESTS, _) => "QUEUE_FULL",
        (StatusCode::SERVICE_UNAVAILABLE, _) => "NOT_READY",
        (StatusCode::GATEWAY_TIMEOUT, _) => "TIMEOUT",
        (status, _) if status.is_client_error() => "RESOURCE_LIMIT",
        _ => "INTERNAL_ERROR",
    };
    // A client of the document compares this text.
    let short =
        if error.status == StatusCode::GATEWAY_TIMEOUT { "Generation timeout" } else { &error.message };
    json!({"error": short, "detail": error.message, "code": code})
}
