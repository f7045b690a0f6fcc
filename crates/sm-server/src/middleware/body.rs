//! Reads the body of a request before its handler runs, within bounds of size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;

use super::encoding::decoded;
use super::recall::recall;
use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::filter::{self, ContentFilter};
use crate::redaction::redacted;

/// How much of a body that is too large is still read and thrown away, so that the client reads the answer: many send all first,
/// and see only a broken connection otherwise.
const MAX_DISCARDED: usize = 128 << 20;

/// How long that may take.
const MAX_DISCARDING: Duration = Duration::from_secs(5);

/// Types that hold no JSON, whatever the body says.
const NO_JSON: [&str; 2] = ["multipart/", "text/html"];

/// Reads the body.
pub(crate) async fn read_body(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if let Some(kind) = kind.filter(|kind| NO_JSON.iter().any(|other| kind.starts_with(other))) {
        let message =
            format!("bodies of type {kind:?} are not read; send JSON, with `Content-Type: application/json`");
        return ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    let limit = app.config().max_body_bytes;
    let timeout = app.config().body_timeout;
    match tokio::time::timeout(timeout, collect(body, limit)).await {
        Ok(Ok(body)) => {
            let body = match decoded(&mut parts, body, limit).await {
                Ok(body) => body,
                Err(error) => return error.into_response(),
            };
            if let Some(call) = Call::current() {
                call.set_body_bytes(body.len() as u64);
            }
            if app.config().logs_prompts {
                tracing::info!(body = redacted(&String::from_utf8_lossy(&body)), "asked");
            }
            if let Some(filter) = &app.config().content_filter
                && let Err(error) = check_content(filter, &parts, &body)
            {
                return error.into_response();
            }
            recall(&app, parts, body, next).await
        }
        Ok(Err(error)) => error.into_response(),
        Err(_) => {
            let seconds = timeout.as_secs_f64();
            let message = format!(
                "the body did not arrive within {seconds} s; send it faster, or raise --body-timeout"
            );
            ApiError::new(StatusCode::REQUEST_TIMEOUT, message).into_response()
        }
    }
}

/// Shows a body to the content filter. One that is compressed cannot be looked at, and is refused.
fn check_content(filter: &Arc<dyn ContentFilter>, parts: &Parts, body: &[u8]) -> Result<(), ApiError> {
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        let message = "this server filters content, so it takes no compressed bodies; send it as it is";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    filter::check(filter, body)
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let announced = body.size_hint().exact();
    if let Some(announced) = announced.filter(|n| *n > limit as u64) {
        discard(body).await;
        return Err(too_large(&announced.to_string(), limit));
    }
    // Memory follows what arrives, not what is announced.
    let mut read = Vec::with_capacity(announced.unwrap_or(0).min(1 << 16) as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::new(StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            discard(body).await;
            return Err(too_large(&format!("more than {}", read.len() + data.len() - 1), limit));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.into())
}

fn too_large(n_bytes: &str, limit: usize) -> ApiError {
    let message =
        format!("the body has {n_bytes} bytes but at most {limit} are read; shorten it, or raise --max-body");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

async fn discard(mut body: Body) {
    let discarding = async {
        let mut n_bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            n_bytes += frame.data_ref().map_or(0, Bytes::len);
            if n_bytes > MAX_DISCARDED {
                break;
            }
        }
    };
    // The client then sees a broken connection.
    let _ = tokio::time::timeout(MAX_DISCARDING, discarding).await;
}
