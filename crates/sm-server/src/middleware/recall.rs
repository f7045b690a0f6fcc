//! Answers from memory what has been answered before.

use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::call::Call;
use crate::response_cache::{Asked, CachedAnswer};

/// The largest answer that is kept, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Endpoints whose answers are not only texts: they change something, or have an id by which they are asked for later.
const NOT_KEPT: [&str; 3] = ["/admin/", "/v1/responses", "/responses"];

/// Runs a request, unless its answer is in memory.
pub(super) async fn recall(app: &App, parts: Parts, body: Bytes, next: Next) -> Response {
    let asked = asked(app, &parts, &body);
    if let Some(answer) = asked.as_ref().and_then(|asked| app.response_cache().find(asked, Instant::now())) {
        let CachedAnswer { content_type, body } = answer;
        let headers = [(header::CONTENT_TYPE.as_str(), &*content_type), ("x-cache", "hit")];
        return (headers, body).into_response();
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    match asked {
        Some(asked) => keep(app, asked, response).await,
        None => response,
    }
}

/// What a request asks for, if its answer may be kept.
fn asked(app: &App, parts: &Parts, body: &[u8]) -> Option<Asked> {
    let path = parts.uri.path();
    let is_kept = app.config().response_cache > 0
        && parts.method == Method::POST
        && !app.is_draining()
        && !NOT_KEPT.iter().any(|prefix| path.starts_with(prefix));
    let client = Call::current().and_then(|call| call.key().map(|key| key.client())).unwrap_or(0);
    is_kept.then(|| Asked::of(path, client, body)).flatten()
}

async fn keep(app: &App, asked: Asked, response: Response) -> Response {
    let is_small = response.body().size_hint().exact().is_some_and(|n_bytes| n_bytes <= MAX_ANSWER);
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let (true, StatusCode::OK, Some(kind)) = (is_small, response.status(), kind) else { return response };
    let content_type = kind.to_owned();
    let (mut parts, body) = response.into_parts();
    // A body of known size is in memory already.
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    app.response_cache().keep(asked, CachedAnswer { content_type, body: body.clone() }, Instant::now());
    parts.headers.insert("x-cache", HeaderValue::from_static("miss"));
    Response::from_parts(parts, Body::from(body))
}
