//! A server with the demo model, and raw connections to it.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use sm_runtime::{BatchingConfig, EngineConfig, ExecutorOptions, ModelRef, ModelSpec, Models};
use sm_server::{LoadProgress, Metrics, MetricsCompat, Reload, Server, ServerConfig, ServerError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server on a free port, until it is stopped or dropped.
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
        Self::with(ServerConfig::new("demo")).await
    }

    pub(crate) async fn with(config: ServerConfig) -> Self {
        Self::with_batching(config, BatchingConfig::new()).await
    }

    pub(crate) async fn with_batching(config: ServerConfig, batching: BatchingConfig) -> Self {
        let models = Models::new(1 << 30);
        let metrics = Metrics::new(Some(MetricsCompat::Vllm));
        let loading = LoadProgress::default();
        for (name, model) in [("demo", ModelRef::Demo), ("small", ModelRef::DemoDraft)] {
            let executor = ExecutorOptions::new().pool_bytes(48 << 20);
            let engine = EngineConfig::new().executor(executor).batching(batching.clone());
            let spec = ModelSpec::new(model).config(engine).metrics(metrics.sink(name));
            models.add(name, spec.progress(loading.reporter(name)).alias(&format!("{name}:latest"))).unwrap();
        }
        let config = config.grace(Duration::from_secs(20)).metrics(metrics).loading(loading);
        let server = Server::bind("127.0.0.1:0", models.clone(), config).await.unwrap();
        let address = server.address();
        let reload = server.reload();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.run(async move { _ = stopped.await }));
        Self { address, client: Client::new(), models, reload, stop: Some(stop), served }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).json(body)
    }

    pub(crate) async fn complete(&self, body: &Value) -> Response {
        self.post("/v1/completions", body).send().await.unwrap()
    }

    /// Waits until the default model is loaded.
    pub(crate) async fn ready(&self) {
        for _ in 0..600 {
            if self.get("/ready").send().await.unwrap().status() == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the model was not loaded within 30 seconds");
    }

    /// Sends bytes, and reads until the server closes the connection.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses what is sent may close before all is sent.
        let _ = stream.write_all(request).await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        String::from_utf8_lossy(&response).into_owned()
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

/// A request for so many tokens.
pub(crate) fn story(n_tokens: usize) -> Value {
    json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": n_tokens, "ignore_eos": true})
}

/// A response's error.
pub(crate) async fn error(response: Response) -> Value {
    let body: Value = response.json().await.unwrap();
    body["error"].clone()
}
