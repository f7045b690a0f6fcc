//! A server on a free port, for tests.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use sm_runtime::{EngineConfig, ExecutorOptions, LoadOptions, ModelRef, ModelSpec, Models, RecentMetrics};
use sm_server::{Reload, Server, ServerConfig, ServerError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A template of the demo model's form that knows tools and thoughts.
const TOOL_TEMPLATE: &str = "\
{%- if tools %}<|system|>
{{ tools | tojson }} <tool_call>{\"name\": …}</tool_call><|end|>
{% endif %}
{%- for m in messages %}<|{{ 'user' if m.role == 'tool' else m.role }}|>
{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}
{%- for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }} {{ call.function.arguments | tojson }}</tool_call>{% endfor %}<|end|>
{% endfor %}
{%- if add_generation_prompt %}<|assistant|>
{% if enable_thinking %}<think>
{% endif %}{% endif %}";

/// A server on a free port until it is stopped or dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) models: Models,
    pub(crate) reload: Reload,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::of(ModelRef::Demo, |config| config).await
    }

    /// With a template that knows tools and thoughts; the model does not.
    pub(crate) async fn with_tools() -> Self {
        let mut load = LoadOptions::new();
        load.chat_template = Some(TOOL_TEMPLATE.to_owned());
        Self::loaded(ModelRef::Demo, load, |config| config).await
    }

    pub(crate) async fn of(model: ModelRef, change: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        Self::loaded(model, LoadOptions::new(), change).await
    }

    pub(crate) async fn loaded(
        model: ModelRef,
        load: LoadOptions,
        change: impl FnOnce(ServerConfig) -> ServerConfig,
    ) -> Self {
        let recent = Arc::new(RecentMetrics::default());
        let models = Models::new(1 << 30);
        let engine = EngineConfig::new().load(load).executor(ExecutorOptions::new().pool_bytes(48 << 20));
        let spec = ModelSpec::new(model).config(engine).alias("gpt-4o").metrics(Arc::clone(&recent) as _);
        models.add("demo", spec).unwrap();
        Self::serve(models, change(ServerConfig::new("demo").recent(recent))).await
    }

    pub(crate) async fn serve(models: Models, config: ServerConfig) -> Self {
        let config = config.grace(Duration::from_secs(20));
        let server = Server::bind("127.0.0.1:0", models.clone(), config).await.unwrap();
        let (address, reload) = (server.address(), server.reload());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.run(async move { _ = stopped.await }));
        Self { address, client: Client::new(), models, reload, stop: Some(stop), served }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request that is not sent yet.
    pub(crate) fn getting(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// A request with a body that is not sent yet.
    pub(crate) fn posting(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).json(body)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.getting(path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.posting(path, body).send().await.unwrap()
    }

    /// Posts as a client that accepts a type.
    pub(crate) async fn post_accepting(&self, accept: &str, path: &str, body: &Value) -> Response {
        self.posting(path, body).header("accept", accept).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{body}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The chunks of a stream, which ends with `[DONE]`.
    pub(crate) async fn chunks(&self, path: &str, body: &Value) -> Vec<Value> {
        let response = self.post(path, body).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = response.text().await.unwrap();
        let mut data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{text}");
        data.into_iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
    }

    /// The lines of a stream of lines.
    pub(crate) async fn lines(&self, path: &str, body: &Value) -> Vec<Value> {
        let response = self.post(path, body).await;
        let kind = response.headers()["content-type"].clone();
        let text = response.text().await.unwrap();
        assert_eq!(kind, "application/x-ndjson", "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names and data of server-sent events.
    pub(crate) async fn events(&self, path: &str, body: &Value) -> Vec<(String, Value)> {
        let response = self.post(path, body).await;
        let kind = response.headers()["content-type"].clone();
        let text = response.text().await.unwrap();
        assert_eq!(kind, "text/event-stream", "{text}");
        let events = text.split("\n\n").filter(|event| !event.trim().is_empty() && !event.starts_with(':'));
        events
            .map(|event| {
                let (name, data) = event.split_once('\n').unwrap();
                let name = name.strip_prefix("event: ").unwrap();
                let data = data.strip_prefix("data: ").unwrap();
                (name.to_owned(), serde_json::from_str(data).unwrap())
            })
            .collect()
    }

    /// Asks it to stop.
    pub(crate) fn ask_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has stopped.
    pub(crate) async fn stopped(self) {
        self.served.await.unwrap().unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.ask_to_stop();
        self.stopped().await;
    }
}

/// A body with some fields set.
pub(crate) fn with(mut body: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("not an object") };
    for (name, value) in fields {
        body[name] = value;
    }
    body
}

/// A schema of an object with one whole number.
pub(crate) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"x": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": false,
    })
}
