//! Finds the key of a request, and applies its limits.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::keys::{Key, Left, Visitor};

/// What anybody may ask: whether the server is there.
const OPEN: [&str; 4] = ["/", "/health", "/ready", "/v1/health"];

/// The files of the page, in which people enter their key.
const PAGE: &str = "/ui/";

/// Where administrators go.
const ADMIN: &str = "/admin/";

/// Lets a request through to its handler if its key allows it.
pub(crate) async fn authorize(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(call) = Call::current() else { return next.run(request).await };
    let key = match check(&app, &request) {
        Ok(key) => key,
        Err(error) => return error.into_response(),
    };
    let is_counted = request.method() == Method::POST && !request.uri().path().starts_with(ADMIN);
    if let Some(visitors) = app.visitors().filter(|_| is_counted) {
        let visitor = key.as_ref().map_or(Visitor::Address(call.peer), |key| Visitor::Key(key.client()));
        let endpoint = request.extensions().get::<MatchedPath>().cloned();
        let endpoint = endpoint.as_ref().map_or("", MatchedPath::as_str);
        if let Err(error) = visitors.call(visitor, endpoint).await {
            return error.into_response();
        }
    }
    let Some(key) = key else { return next.run(request).await };
    call.set_key(Arc::clone(&key));
    let taken = if is_counted { key.take_request().await } else { Ok(()) };
    let mut response = match taken {
        Err(error) => error.into_response(),
        Ok(()) => next.run(request).await,
    };
    add_limits(&key, response.headers_mut());
    response
}

/// The key of a request, if it has one.
fn check(app: &App, request: &Request) -> Result<Option<Arc<Key>>, ApiError> {
    let path = request.uri().path();
    if OPEN.contains(&path) || path.starts_with(PAGE) || request.method() == Method::OPTIONS {
        return Ok(None);
    }
    let presented = presented(request.headers());
    let key = presented.and_then(|(key, _)| app.keys().find(key));
    let is_admin_path = path.starts_with(ADMIN);
    match &key {
        None if is_admin_path || app.keys().are_required() => return Err(refusal(path, presented)),
        Some(key) if is_admin_path && !key.is_admin() => {
            return Err(ApiError::forbidden("this key is not an administrator's"));
        }
        _ => {}
    }
    Ok(key)
}

/// Where a key was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Bearer,
    XApiKey,
}

/// The key that a request presents: as `Authorization: Bearer`, or as `X-API-Key`.
fn presented(headers: &HeaderMap) -> Option<(&str, Place)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| (key.trim(), Place::Bearer))
    });
    // Anthropic's SDKs may send both, one of them empty.
    bearer.filter(|(key, _)| !key.is_empty()).or_else(|| text("x-api-key").map(|key| (key, Place::XApiKey)))
}

/// The documents' clients know 403 for a wrong `X-API-Key`, and everybody else 401.
fn refusal(path: &str, presented: Option<(&str, Place)>) -> ApiError {
    match presented {
        Some((_, Place::XApiKey)) if !path.starts_with("/v1/") => {
            ApiError::new(StatusCode::FORBIDDEN, "Invalid API Key")
        }
        Some(_) => ApiError::unauthorized("the API key is not valid"),
        None => ApiError::unauthorized(
            "an API key is needed; send it as `Authorization: Bearer KEY` or as `X-API-Key: KEY`",
        ),
    }
}

/// Says what is left of the key's limits, in OpenAI's headers.
fn add_limits(key: &Key, headers: &mut HeaderMap) {
    for (of, left) in key.left() {
        let Some(Left { limit, remaining, reset }) = left else { continue };
        for (what, value) in
            [("limit", limit.to_string()), ("remaining", remaining.to_string()), ("reset", written(reset))]
        {
            let name = HeaderName::try_from(format!("x-ratelimit-{what}-{of}"));
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
    }
}

/// A time as OpenAI writes it: `1s`, `6m0s`, `20ms`.
fn written(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{}ms", time.as_millis()),
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_wherever_clients_put_it() {
        for (headers, expected) in [
            (&[("authorization", "Bearer abc")][..], Some("abc")),
            (&[("authorization", "bearer  abc ")], Some("abc")),
            (&[("x-api-key", "abc")], Some("abc")),
            (&[("authorization", "Bearer "), ("x-api-key", "abc")], Some("abc")),
            (&[("authorization", "Basic abc")], None),
            (&[], None),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(presented(&map).map(|(key, _)| key), expected, "{headers:?}");
        }
    }

    #[test]
    fn times_are_written_as_openai_does() {
        for (ms, text) in [(20, "20ms"), (1000, "1s"), (59_999, "59s"), (360_000, "6m0s"), (0, "0ms")] {
            assert_eq!(written(Duration::from_millis(ms)), text);
        }
    }
}
