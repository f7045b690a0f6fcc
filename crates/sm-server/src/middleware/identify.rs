//! Gives each request an id, which is in its answer and in every line of the log about it.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::watched::{SERVER_TIMING, Watch, watch_body};
use crate::app::App;
use crate::call::Call;
use crate::connections::Peer;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids are replaced: they would fill the log.
const MAX_ID: usize = 128;

/// Runs a request under an id, measures it, and logs its end.
pub(crate) async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = given_id(request.headers()).unwrap_or_else(new_id);
    if let Ok(id) = HeaderValue::from_str(&id) {
        // Some envelopes repeat it.
        request.headers_mut().insert(REQUEST_ID, id);
    }
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0);
    let call = Arc::new(Call::new(id, peer));
    let endpoint = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let wants_trailers = takes_trailers(&request);
    let watch = Watch::new(app, Arc::clone(&call), &request, endpoint);
    let span = tracing::info_span!("request", id = call.id);
    let answering = Arc::clone(&call).scope(next.run(request)).instrument(span.clone());
    let mut response = answering.await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&call.id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(timing) = watch.timing() {
        headers.insert(SERVER_TIMING, timing);
    }
    watch_body(response, watch, span, wants_trailers)
}

/// The id that the client sent, if it is one line of visible characters.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_visible = id.bytes().all(|byte| byte.is_ascii_graphic());
    (is_visible && (1..=MAX_ID).contains(&id.len())).then(|| id.to_owned())
}

/// An id that nobody else has: 128 random bits.
fn new_id() -> String {
    let mut bytes = [0; 16];
    // Without a source of randomness, the id is one that nobody can tell from another, and the request is answered.
    let _ = getrandom::fill(&mut bytes);
    format!("req-{:032x}", u128::from_le_bytes(bytes))
}

/// Whether the client reads what comes after a body. In HTTP/2, all do.
fn takes_trailers(request: &Request) -> bool {
    let te = request.headers().get_all("te").iter().filter_map(|te| te.to_str().ok());
    request.version() >= axum::http::Version::HTTP_2
        || te.flat_map(|te| te.split(',')).any(|te| te.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_if_a_log_can_hold_it() {
        for (id, is_taken) in
            [("abc-123", true), ("a b", false), ("", false), (&"x".repeat(129), false), ("é", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap());
            assert_eq!(given_id(&headers).as_deref(), is_taken.then_some(id));
        }
        assert_ne!(new_id(), new_id());
    }
}
