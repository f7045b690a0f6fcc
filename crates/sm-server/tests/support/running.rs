//! A server on a free port, for tests.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::Value;
use sm_runtime::{EngineConfig, ExecutorOptions, ModelRef, ModelSpec, Models, RecentMetrics};
use sm_server::{Server, ServerConfig, ServerError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server of the demo model until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::of(ModelRef::Demo, |config| config).await
    }

    pub(crate) async fn of(model: ModelRef, change: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let recent = Arc::new(RecentMetrics::default());
        let models = Models::new(1 << 30);
        let engine = EngineConfig::new().executor(ExecutorOptions::new().pool_bytes(48 << 20));
        let spec = ModelSpec::new(model).config(engine).alias("gpt-4o").metrics(Arc::clone(&recent) as _);
        models.add("demo", spec).unwrap();
        let config = ServerConfig::new("demo").grace(Duration::from_secs(20)).recent(recent);
        let server = Server::bind("127.0.0.1:0", models, change(config)).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.run(async move { _ = stopped.await }));
        Self { address, client: Client::new(), stop: Some(stop), served }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).json(body).send().await.unwrap()
    }

    /// Posts as a client that accepts a type.
    pub(crate) async fn post_accepting(&self, accept: &str, path: &str, body: &Value) -> Response {
        self.client.post(self.url(path)).header("accept", accept).json(body).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "{body}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.await.unwrap().unwrap();
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
