//! The spans of a request.

use std::time::SystemTime;

use axum::http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

use super::{Traced, Traces};
use crate::call::{Runs, Work};

/// The span that a request belongs to, if its client sent one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parent(Context);

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

impl Parent {
    /// Reads `traceparent` and `tracestate`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers)))
    }
}

/// Records a request that was answered.
pub(crate) fn record(traces: Option<&Traces>, parent: &Parent, request: &Traced<'_>) {
    let Some(traces) = traces else { return };
    let tracer = traces.tracer();
    let end = SystemTime::now();
    let Some(start) = end.checked_sub(request.elapsed) else { return };
    let Traced { call, method, endpoint, status, .. } = *request;
    let mut attributes = vec![
        KeyValue::new("http.request.method", method.to_owned()),
        KeyValue::new("http.route", endpoint.to_owned()),
        KeyValue::new("http.response.status_code", i64::from(status)),
        KeyValue::new("smallmind.request.id", call.id.clone()),
    ];
    attributes.extend(call.peer.map(|peer| KeyValue::new("client.address", peer.to_string())));
    if status >= 400 {
        attributes.push(KeyValue::new("error.type", status.to_string()));
    }
    let builder = tracer.span_builder(format!("{method} {endpoint}"));
    let builder = builder.with_kind(SpanKind::Server).with_start_time(start).with_attributes(attributes);
    let mut span = builder.start_with_context(tracer, &parent.0);
    // Errors of a client are none of the server's.
    if status >= 500 {
        span.set_status(Status::error(format!("HTTP {status}")));
    }
    let context = parent.0.with_remote_span_context(span.span_context().clone());
    if let Some(work) = call.work() {
        record_work(tracer, &context, request, &work, end);
    }
    span.end_with_timestamp(end);
}

/// What engines did.
fn record_work(tracer: &SdkTracer, context: &Context, request: &Traced<'_>, work: &Work, now: SystemTime) {
    let runs = request.call.runs();
    let at = |instant: std::time::Instant| now.checked_sub(instant.elapsed()).unwrap_or(now);
    let end = runs.ended.map_or(now, at);
    let start = runs.began.map_or(end, at);
    let operation = operation(request.endpoint);
    let model = request.call.model().unwrap_or("unknown");
    let builder = tracer.span_builder(format!("{operation} {model}"));
    let attributes = attributes(request, operation, model, work, &runs);
    let builder = builder.with_kind(SpanKind::Internal).with_start_time(start).with_attributes(attributes);
    let mut span = builder.start_with_context(tracer, context);
    // Several requests overlap, so that their times together have no place on a line.
    if runs.n == 1 {
        let context = context.with_remote_span_context(span.span_context().clone());
        let phases = [("decode", work.decode), ("prefill", work.prefill), ("queue", work.queue)];
        let mut phase_end = end;
        for (name, time) in phases {
            let phase_start = phase_end.checked_sub(time).unwrap_or(start).max(start);
            let phase = tracer.span_builder(name).with_kind(SpanKind::Internal).with_start_time(phase_start);
            phase.start_with_context(tracer, &context).end_with_timestamp(phase_end);
            phase_end = phase_start;
        }
    }
    span.end_with_timestamp(end);
}

/// The attributes of the semantic conventions for generative AI, and the times in the names of vLLM, which has no spans for them.
/// <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>
fn attributes(
    request: &Traced<'_>,
    operation: &'static str,
    model: &str,
    work: &Work,
    runs: &Runs,
) -> Vec<KeyValue> {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let reasons: Vec<StringValue> = runs.finish_reasons.iter().map(|reason| (*reason).into()).collect();
    vec![
        KeyValue::new("gen_ai.operation.name", operation),
        KeyValue::new("gen_ai.provider.name", "smallmind"),
        KeyValue::new("gen_ai.request.model", model.to_owned()),
        KeyValue::new("gen_ai.response.model", model.to_owned()),
        KeyValue::new("gen_ai.response.finish_reasons", Value::Array(Array::String(reasons))),
        KeyValue::new("gen_ai.usage.input_tokens", count(work.prompt_tokens)),
        KeyValue::new("gen_ai.usage.output_tokens", count(work.generated_tokens)),
        KeyValue::new("gen_ai.usage.cache_read.input_tokens", count(work.cached_tokens)),
        KeyValue::new("gen_ai.request.id", request.call.id.clone()),
        KeyValue::new("gen_ai.latency.time_in_queue", work.queue.as_secs_f64()),
        KeyValue::new("gen_ai.latency.time_to_first_token", (work.queue + work.prefill).as_secs_f64()),
        KeyValue::new("gen_ai.latency.time_in_model_prefill", work.prefill.as_secs_f64()),
        KeyValue::new("gen_ai.latency.time_in_model_decode", work.decode.as_secs_f64()),
        KeyValue::new("gen_ai.latency.e2e", request.elapsed.as_secs_f64()),
    ]
}

/// What an endpoint does, in the words of the conventions.
fn operation(endpoint: &str) -> &'static str {
    match endpoint {
        _ if endpoint.contains("embed") => "embeddings",
        "/v1/completions" | "/completion" | "/completions" | "/infill" | "/generate" | "/generate/stream"
        | "/api/generate" => "text_completion",
        _ => "chat",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_the_names_of_the_conventions() {
        for (endpoint, expected) in [
            ("/v1/chat/completions", "chat"),
            ("/v1/messages", "chat"),
            ("/v1/completions", "text_completion"),
            ("/infill", "text_completion"),
            ("/api/embed", "embeddings"),
            ("/v1/embeddings", "embeddings"),
        ] {
            assert_eq!(operation(endpoint), expected, "{endpoint}");
        }
    }

    #[test]
    fn a_parent_is_taken_from_a_header_that_is_right() {
        let parent = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().unwrap());
            Parent::of(&headers).0.span().span_context().clone()
        };
        let given = parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(given.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(given.span_id().to_string(), "00f067aa0ba902b7");
        assert!(given.is_sampled() && given.is_remote());
        for wrong in ["", "nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert!(!parent(wrong).is_valid(), "{wrong}");
        }
    }
}
