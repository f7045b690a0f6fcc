//! Watches an answer until its last byte: only then is it known how long it took and what it cost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use crate::app::App;
use crate::call::{Call, Work};
use crate::error::ApiError;
use crate::metrics::Answered;
use crate::traces::{Parent, Traced, record};

pub(super) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// As nginx logs it: the client went away before the answer was over.
const CLIENT_CLOSED: u16 = 499;

/// Endpoints that are asked all the time, of which a log should not speak.
const QUIET: [&str; 4] = ["/health", "/ready", "/metrics", "/ping"];

/// Measures a request from its first line to the last byte of its answer, or until its client goes away.
#[derive(Debug)]
pub(super) struct Watch {
    app: App,
    call: Arc<Call>,
    method: Method,
    endpoint: Option<String>,
    /// Set when the answer begins.
    status: Option<StatusCode>,
    is_over: bool,
    /// The span of the log.
    span: tracing::Span,
    /// The span of a trace that the request belongs to.
    parent: Parent,
}

impl Watch {
    pub(super) fn new(app: App, call: Arc<Call>, request: &Request, endpoint: Option<String>) -> Self {
        app.metrics().begin();
        let (method, parent) = (request.method().clone(), Parent::of(request.headers()));
        let span = tracing::Span::none();
        Self { app, call, method, endpoint, status: None, is_over: false, span, parent }
    }

    /// What engines have done for the request so far, as `Server-Timing`.
    pub(super) fn timing(&self) -> Option<HeaderValue> {
        self.call.work().and_then(|work| HeaderValue::from_str(&timing(&work)).ok())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Self { app, call, method, endpoint, status, is_over, span, parent } = self;
        let status =
            if *is_over { status.map_or(CLIENT_CLOSED, |status| status.as_u16()) } else { CLIENT_CLOSED };
        let elapsed = call.started.elapsed();
        // What is no endpoint has one name, or anybody could make up new ones.
        let endpoint = endpoint.as_deref().unwrap_or("none");
        let runs_model = *method == Method::POST && endpoint != "none" && !endpoint.starts_with("/admin");
        let seconds = elapsed.as_secs_f64();
        // Methods are made up too.
        let name = if STANDARD_METHODS.contains(method) { method.as_str() } else { "other" };
        app.metrics().end(&Answered { endpoint, method: name, status, seconds, runs_model });
        let work = call.work().unwrap_or_default();
        app.load().record(work.prefill + work.decode);
        let _entered = span.enter();
        let ms = elapsed.as_secs_f64() * 1e3;
        if QUIET.contains(&endpoint) {
            tracing::debug!(%method, endpoint, status, ms, "answered");
            return;
        }
        let traced = Traced { call, method: name, endpoint, status, elapsed };
        record(app.config().traces.as_ref(), parent, &traced);
        let key = call.key().map(|key| key.name());
        let Work { prompt_tokens, cached_tokens, generated_tokens, queue, .. } = work;
        let queue_ms = queue.as_secs_f64() * 1e3;
        tracing::info!(
            %method, endpoint, status, ms, key, model = call.model(), prompt_tokens, cached_tokens, generated_tokens,
            queue_ms, "answered"
        );
    }
}

/// Methods with a name of their own in metrics.
const STANDARD_METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];

fn timing(work: &Work) -> String {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let Work { queue, prefill, decode, prompt_tokens, cached_tokens, generated_tokens } = work;
    format!(
        "queue;dur={:.3}, prefill;dur={:.3}, decode;dur={:.3}, \
         tokens;desc=\"prompt={prompt_tokens} cached={cached_tokens} generated={generated_tokens}\"",
        ms(*queue),
        ms(*prefill),
        ms(*decode)
    )
}

/// Watches the body of a response. If it is a stream, `Server-Timing` follows it as a trailer for clients that take those.
pub(super) fn watch_body(
    mut response: Response,
    mut watch: Watch,
    span: tracing::Span,
    takes_trailers: bool,
) -> Response {
    let status = response.status();
    if let Some(error) = response.extensions().get::<ApiError>()
        && status.is_server_error()
    {
        let _entered = span.enter();
        let (status, error) = (status.as_u16(), error.message());
        match status {
            // Clients ask for what they know from elsewhere.
            501 => tracing::debug!(status, error, "not supported"),
            503 | 504 => tracing::warn!(status, error, "refused for now"),
            _ => tracing::error!(status, error, "failed"),
        }
    }
    watch.status = Some(status);
    watch.span = span;
    let is_stream = response.body().size_hint().exact().is_none();
    let has_trailer = is_stream && takes_trailers;
    if has_trailer {
        response.headers_mut().insert(header::TRAILER, HeaderValue::from_static("server-timing"));
    }
    response.map(|body| Body::new(WatchedBody { body, watch, has_trailer }))
}

struct WatchedBody {
    body: Body,
    watch: Watch,
    /// Whether a trailer is still to come.
    has_trailer: bool,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        this.watch.is_over |= frame.is_none() || this.body.is_end_stream();
        match (frame, this.has_trailer) {
            (None, true) => {
                this.has_trailer = false;
                let timing =
                    this.watch.timing().map(|timing| HeaderMap::from_iter([(SERVER_TIMING, timing)]));
                Poll::Ready(timing.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            (frame, _) => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.has_trailer
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for WatchedBody {
    /// A body that is empty, or whose last frame says so, is not asked again.
    fn drop(&mut self) {
        self.watch.is_over |= self.body.is_end_stream();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_in_milliseconds() {
        let work = Work {
            queue: Duration::from_micros(1500),
            prefill: Duration::from_millis(20),
            decode: Duration::from_secs(1),
            prompt_tokens: 5,
            cached_tokens: 4,
            generated_tokens: 7,
        };
        assert_eq!(
            timing(&work),
            "queue;dur=1.500, prefill;dur=20.000, decode;dur=1000.000, tokens;desc=\"prompt=5 cached=4 generated=7\""
        );
    }
}
