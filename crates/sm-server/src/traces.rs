//! Traces of requests, for OpenTelemetry collectors.
//!
//! ```text
//! POST /v1/chat/completions        server span: method, route, status
//! └ chat demo                      what an engine did: gen_ai.* of the semantic conventions for generative AI
//!   ├ queue
//!   ├ prefill
//!   └ decode
//! ```
//!
//! A request's spans are made when the last byte of its answer is sent, from the same figures as `Server-Timing`: nothing is traced
//! in a step. The parent is that of the header `traceparent` (<https://www.w3.org/TR/trace-context/>). There is no text of prompts
//! and answers in them.

#[cfg(feature = "otel")]
mod exporter;
#[cfg(not(feature = "otel"))]
#[path = "traces/absent.rs"]
mod spans;
#[cfg(feature = "otel")]
mod spans;

use std::time::Duration;

use crate::call::Call;

#[cfg(feature = "otel")]
pub use exporter::{Traces, TracesConfig};
#[cfg(not(feature = "otel"))]
pub(crate) use spans::Traces;
pub(crate) use spans::{Parent, record};

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "nothing is traced"))]
pub(crate) struct Traced<'t> {
    pub(crate) call: &'t Call,
    pub(crate) method: &'t str,
    /// The route, not the path: of those there are few.
    pub(crate) endpoint: &'t str,
    pub(crate) status: u16,
    /// From the first line of the request to the last byte of the answer.
    pub(crate) elapsed: Duration,
}
