//! A server of two models with all metrics, and raw connections to it.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use sm_runtime::{BatchingConfig, EngineConfig, ExecutorOptions, ModelRef, ModelSpec, Models};
use sm_server::{LoadProgress, Metrics, MetricsCompat, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) use crate::server::Running;

impl Running {
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
        Self::serve(models, config.metrics(metrics).loading(loading)).await
    }

    pub(crate) async fn complete(&self, body: &Value) -> Response {
        self.post("/v1/completions", body).await
    }

    /// Waits until the default model is loaded.
    pub(crate) async fn ready(&self) {
        for _ in 0..600 {
            if self.get("/ready").await.status() == 200 {
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
