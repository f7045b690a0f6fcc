//! The HTTP server over an engine: clients of OpenAI, Anthropic, Ollama and llama.cpp work against it unchanged.
//!
//! ```no_run
//! use sm_runtime::{ModelRef, ModelSpec, Models};
//! use sm_server::{Server, ServerConfig};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let models = Models::new(4 << 30);
//! models.add("demo", ModelSpec::new(ModelRef::Demo))?;
//! let server = Server::bind("127.0.0.1:8000", models, ServerConfig::new("demo")).await?;
//! println!("listening on http://{}", server.address());
//! // Serves until the future is ready, then gives running requests some time.
//! server.run(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | endpoint | |
//! |---|---|
//! | `POST /v1/chat/completions`, `POST /v1/completions` | text, at once or as a stream of server-sent events |
//! | `GET /v1/models`, `GET /v1/models/{id}` | the models by name |
//! | `/v1/responses`, `/v1/responses/{id}` | OpenAI's Responses API |
//! | `/v1/messages`, `/v1/messages/count_tokens` | Anthropic's API |
//! | `/api/chat`, `/api/generate`, `/api/tags`, … | Ollama's API |
//! | `/v1/embeddings` | vectors of texts |
//! | `/completion`, `/embedding`, `/props`, `/slots`, … | llama.cpp's own API |
//! | `/generate`, `/solve/…`, `/tokenize`, `/apply-template`, … | texts, problems and tokens |
//! | `/version`, `/server_info`, `/v1/loads`, `/v1/chat/completions/render`, … | what routers ask a replica |
//! | `GET /openapi.json`, `GET /docs` | what there is, for programs and for people |
//! | `GET /`, `GET /ui/…` | the page for people |
//! | `GET /health` | 200 while the process is alive and not draining |
//! | `GET /ready` | 200 when the default model is loaded; until then 503 |
//! | `GET /metrics` | everything that is measured, in Prometheus' text format |
//! | `/admin/…` | loads and unloads models, drains, resets the cache, changes settings; for administrators' keys |
//!
//! A request takes three hops. Its handler reads the body and hands it to a blocking thread, which renders the template and
//! tokenizes, so that neither the async threads nor the engine's wait for a long prompt. The engine's thread then streams
//! events, which the handler turns into chunks. A client that goes away drops the stream, which cancels the request at the
//! next step, wherever it is.

mod admin;
mod answering;
mod anthropic;
mod app;
mod call;
pub mod chat;
mod config;
mod connections;
mod documents;
mod error;
mod expiry;
mod filter;
mod generation;
mod health;
mod interval;
mod keeper;
mod keys;
#[cfg(feature = "kv-events")]
mod kv_events;
mod llamacpp;
mod load;
mod loading;
mod metrics;
mod metrics_endpoint;
mod middleware;
mod model_source;
mod ollama;
mod openai;
mod openapi;
mod page;
mod page_tabs;
mod redaction;
mod replica;
mod response_cache;
mod response_store;
mod responses;
mod router;
mod server;
mod text;
mod traces;
pub mod wire;

pub use config::{RequestDefaults, ServerConfig};
pub use error::ServerError;
pub use filter::{ContentFilter, TermFilter};
pub use keys::{NewKey, RateLimit, RedisFallback};
#[cfg(feature = "kv-events")]
pub use kv_events::{KvEvents, KvEventsConfig};
pub use loading::LoadProgress;
pub use metrics::{Metrics, MetricsCompat};
pub use model_source::{ModelSource, PullError, PullProgress};
pub use page::PageServer;
pub use page_tabs::PageTabs;
pub use server::{Reload, Server};
#[cfg(feature = "otel")]
pub use traces::{Traces, TracesConfig};
