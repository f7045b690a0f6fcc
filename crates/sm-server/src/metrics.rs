//! Metrics in Prometheus' text format.
//!
//! Each server has a registry of its own, so that two in a process do not mix. What engines count themselves is read when
//! somebody asks.

mod engine;
mod http;
mod llamacpp;
mod names;

use std::sync::Arc;

use prometheus::{Encoder, Registry, TextEncoder};
use sm_runtime::{Engine, MetricsSink, RecentMetrics};

use engine::{Families, Sink};
use http::Http;
use llamacpp::LlamaCpp;

/// The type of the text, for its reader.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Sets of names that other systems' dashboards know, beside our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricsCompat {
    /// vLLM's, which the endpoint picker of the Gateway API and autoscalers know.
    Vllm,
    /// Those of llama.cpp's server.
    LlamaCpp,
}

/// The metrics of a server. Clones share them.
///
/// ```
/// use sm_runtime::{ModelRef, ModelSpec};
/// use sm_server::{Metrics, MetricsCompat, ServerConfig};
///
/// let metrics = Metrics::new(Some(MetricsCompat::Vllm));
/// let spec = ModelSpec::new(ModelRef::Demo).metrics(metrics.sink("demo"));
/// let config = ServerConfig::new("demo").metrics(metrics);
/// ```
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    http: Http,
    families: Arc<[Families]>,
    llamacpp: Option<Arc<LlamaCpp>>,
    recent: Arc<RecentMetrics>,
}

/// An HTTP request that has been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered<'a> {
    /// The route, as it is declared.
    pub(crate) endpoint: &'a str,
    pub(crate) method: &'a str,
    pub(crate) status: u16,
    pub(crate) seconds: f64,
    pub(crate) runs_model: bool,
}

impl Metrics {
    /// Metrics without values, with another system's names beside ours.
    ///
    /// # Panics
    /// If two have the same name, which a test rules out.
    pub fn new(compat: Option<MetricsCompat>) -> Self {
        Self::register(compat).expect("the names are distinct and well formed")
    }

    fn register(compat: Option<MetricsCompat>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let http = Http::new(&registry)?;
        let mut families = vec![Families::new(&names::OURS, &registry)?];
        if let Some(MetricsCompat::Vllm) = compat {
            families.push(Families::new(&names::VLLM, &registry)?);
        }
        let llamacpp = matches!(compat, Some(MetricsCompat::LlamaCpp)).then(Arc::default);
        let families = families.into();
        Ok(Self(Arc::new(Inner { registry, http, families, llamacpp, recent: Arc::default() })))
    }

    /// What takes the measurements of a model's engine: the argument of [`ModelSpec::metrics`](sm_runtime::ModelSpec::metrics).
    pub fn sink(&self, model: &str) -> Arc<dyn MetricsSink> {
        Arc::new(Sink::new(model, &self.0.families, self.0.llamacpp.clone(), &self.0.recent))
    }

    /// The latest measurements of all models: the argument of [`ServerConfig::recent`](crate::ServerConfig::recent()).
    pub fn recent(&self) -> Arc<RecentMetrics> {
        Arc::clone(&self.0.recent)
    }

    pub(crate) fn begin(&self) {
        self.0.http.begin();
    }

    pub(crate) fn end(&self, answered: &Answered<'_>) {
        self.0.http.end(answered);
    }

    /// All metrics as text, with what the loaded engines tell now.
    pub(crate) fn text(&self, engines: &[(String, Engine)]) -> Result<String, prometheus::Error> {
        let now = Registry::new();
        for families in &*self.0.families {
            families.read(engines, &now)?;
        }
        if let Some(llamacpp) = &self.0.llamacpp {
            llamacpp.read(engines, &now)?;
        }
        let mut families = self.0.registry.gather();
        families.extend(now.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_can_be_registered() {
        let metrics = Metrics::register(Some(MetricsCompat::Vllm)).unwrap();
        metrics.begin();
        let answered = Answered {
            endpoint: "/v1/completions",
            method: "POST",
            status: 200,
            seconds: 0.02,
            runs_model: true,
        };
        metrics.end(&answered);
        let text = metrics.text(&[]).unwrap();
        for line in [
            "# TYPE model_requests_total counter",
            "model_requests_total{endpoint=\"/v1/completions\"} 1",
            "model_latency_seconds_bucket{endpoint=\"/v1/completions\",le=\"0.025\"} 1",
            "smallmind_http_requests_in_flight 0",
            "smallmind_http_requests_total{endpoint=\"/v1/completions\",method=\"POST\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
    }
}
