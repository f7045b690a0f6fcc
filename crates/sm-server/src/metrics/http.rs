//! Measurements of HTTP, with the names of the documents beside ours.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

/// The upper bounds of latencies, in seconds.
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

#[derive(Debug)]
pub(super) struct Http {
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    documents_requests: IntCounterVec,
    documents_seconds: HistogramVec,
}

impl Http {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = |name: &str, help: &str| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), &["endpoint"])
        };
        let http = Self {
            requests: IntCounterVec::new(
                Opts::new("smallmind_http_requests_total", "HTTP requests by endpoint and status"),
                &["endpoint", "method", "status"],
            )?,
            seconds: seconds("smallmind_http_request_seconds", "Time until the last byte of an answer")?,
            in_flight: IntGauge::new(
                "smallmind_http_requests_in_flight",
                "HTTP requests that are being answered",
            )?,
            documents_requests: IntCounterVec::new(
                Opts::new("model_requests_total", "Requests to endpoints that run a model"),
                &["endpoint"],
            )?,
            documents_seconds: seconds("model_latency_seconds", "Time of requests that run a model")?,
        };
        registry.register(Box::new(http.requests.clone()))?;
        registry.register(Box::new(http.seconds.clone()))?;
        registry.register(Box::new(http.in_flight.clone()))?;
        registry.register(Box::new(http.documents_requests.clone()))?;
        registry.register(Box::new(http.documents_seconds.clone()))?;
        Ok(http)
    }

    pub(super) fn begin(&self) {
        self.in_flight.inc();
    }

    pub(super) fn end(&self, answered: &super::Answered<'_>) {
        let super::Answered { endpoint, method, status, seconds, runs_model } = *answered;
        self.in_flight.dec();
        self.requests.with_label_values(&[endpoint, method, &status.to_string()]).inc();
        self.seconds.with_label_values(&[endpoint]).observe(seconds);
        if runs_model {
            self.documents_requests.with_label_values(&[endpoint]).inc();
            self.documents_seconds.with_label_values(&[endpoint]).observe(seconds);
        }
    }
}
