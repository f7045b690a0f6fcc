//! Traces, as a collector gets them: protobuf over HTTP, decoded with OpenTelemetry's own messages.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use running::Running;
use serde_json::{Value, json};
use sm_runtime::ModelRef;
use sm_server::{Traces, TracesConfig};
use tokio::net::TcpListener;

/// What a collector got: the attributes of the resource, and the spans.
#[derive(Debug, Default)]
struct Got {
    resource: Vec<KeyValue>,
    spans: Vec<Span>,
}

/// A collector on a free port. Gives the address of its traces.
async fn collector(got: Arc<Mutex<Got>>) -> String {
    async fn take(State(got): State<Arc<Mutex<Got>>>, headers: HeaderMap, body: Bytes) {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let mut got = got.lock().unwrap();
        for resource in request.resource_spans {
            got.resource = resource.resource.unwrap().attributes;
            got.spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(take)).with_state(got);
    tokio::spawn(async move {
        axum::serve(listener, router).await.unwrap();
    });
    format!("http://{address}/v1/traces")
}

fn text(value: Option<&Any>) -> Value {
    match value {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(list)) => list.values.iter().map(|value| text(value.value.as_ref())).collect(),
        _ => Value::Null,
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    text(found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The only span of a name.
fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found[..] else { panic!("{} spans {name:?} in {spans:#?}", found.len()) };
    span
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_traced_from_the_queue_to_the_last_token() {
    let got = Arc::new(Mutex::new(Got::default()));
    let address = collector(Arc::clone(&got)).await;
    let traces = Traces::new(TracesConfig::default().endpoint(address)).unwrap();
    let ours = traces.clone();
    let server = Running::of(ModelRef::Demo, |config| config.traces(ours)).await;
    let chat = json!({"messages": [{"role": "user", "content": "What is 17 + 25?"}], "max_tokens": 8, "ignore_eos": true});
    let answer = server
        .posting("/v1/chat/completions", &chat)
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .header("x-request-id", "a-request")
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    let text = json!({"prompt": "Once", "max_tokens": 4, "stream": true, "ignore_eos": true});
    server.chunks("/v1/completions", &text).await;
    assert_eq!(server.post("/v1/embeddings", &json!({"input": 7})).await.status(), 400);
    server.get("/health").await;
    server.stop().await;
    tokio::task::spawn_blocking(move || traces.shut_down()).await.unwrap();

    let got = got.lock().unwrap();
    assert_eq!(attribute(&got.resource, "service.name"), "smallmind");
    let spans = &got.spans;
    let root = named(spans, "POST /v1/chat/completions");
    assert_eq!(root.kind, SpanKind::Server as i32);
    assert_eq!(
        (hex(&root.trace_id).as_str(), hex(&root.parent_span_id).as_str()),
        ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    );
    let of_root = |name: &str| attribute(&root.attributes, name);
    assert_eq!(
        (of_root("http.request.method"), of_root("http.route")),
        (json!("POST"), json!("/v1/chat/completions"))
    );
    assert_eq!(
        (of_root("http.response.status_code"), of_root("smallmind.request.id")),
        (json!(200), json!("a-request"))
    );

    let model = named(spans, "chat demo");
    assert_eq!((&model.parent_span_id, &model.trace_id), (&root.span_id, &root.trace_id));
    let of_model = |name: &str| attribute(&model.attributes, name);
    let usage = &answer["usage"];
    assert_eq!(of_model("gen_ai.usage.input_tokens"), usage["prompt_tokens"]);
    assert_eq!((of_model("gen_ai.usage.output_tokens"), &usage["completion_tokens"]), (json!(8), &json!(8)));
    assert_eq!(of_model("gen_ai.response.finish_reasons"), json!(["length"]));
    assert_eq!(
        (of_model("gen_ai.operation.name"), of_model("gen_ai.request.model")),
        (json!("chat"), json!("demo"))
    );
    assert!(of_model("gen_ai.latency.time_in_model_decode").as_f64().unwrap() > 0.0);

    let phases: Vec<&Span> = ["queue", "prefill", "decode"]
        .map(|name| {
            spans.iter().find(|span| span.name == name && span.parent_span_id == model.span_id).unwrap()
        })
        .to_vec();
    // They follow each other within the span of the model, and that one lies within the request.
    let mut before = model.start_time_unix_nano;
    for phase in &phases {
        assert!(before <= phase.start_time_unix_nano, "{phase:#?}");
        before = phase.end_time_unix_nano;
    }
    assert!(before <= model.end_time_unix_nano);
    assert!(phases[1].end_time_unix_nano > phases[1].start_time_unix_nano, "a prompt takes time");
    // The clocks of a span's two ends are read one after the other.
    let slack = 1_000_000;
    assert!(root.start_time_unix_nano <= model.start_time_unix_nano + slack);
    assert!(model.end_time_unix_nano <= root.end_time_unix_nano + slack);

    let streamed = named(spans, "text_completion demo");
    assert_eq!(attribute(&streamed.attributes, "gen_ai.usage.output_tokens"), 4);
    assert_ne!(streamed.trace_id, root.trace_id, "without a parent, a request is a trace of its own");
    let wrong = named(spans, "POST /v1/embeddings");
    assert_eq!(attribute(&wrong.attributes, "error.type"), "400");
    assert!(spans.iter().all(|span| !span.name.contains("health")), "probes are no requests");
    let said =
        spans.iter().flat_map(|span| &span.attributes).map(|each| format!("{each:?}")).collect::<String>();
    assert!(!said.contains("17 + 25") && !said.contains("Once"), "no prompts: {said}");
}

#[tokio::test]
async fn a_collector_that_does_not_answer_harms_nobody() {
    let traces = Traces::new(TracesConfig::default().endpoint("http://127.0.0.1:9/v1/traces")).unwrap();
    let ours = traces.clone();
    let server = Running::of(ModelRef::Demo, |config| config.traces(ours)).await;
    server.json("/v1/completions", &json!({"prompt": "Once", "max_tokens": 2})).await;
    server.stop().await;
    tokio::task::spawn_blocking(move || traces.shut_down()).await.unwrap();
}
