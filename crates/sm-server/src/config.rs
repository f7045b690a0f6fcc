//! The settings of a server.

use std::sync::Arc;
use std::time::Duration;

use sm_runtime::RecentMetrics;

use crate::chat::ToolForm;

/// The settings of a server.
///
/// ```
/// use std::time::Duration;
///
/// use sm_server::ServerConfig;
///
/// let config = ServerConfig::new("demo").grace(Duration::from_secs(5));
/// assert_eq!(config.max_body_bytes, 16 << 20);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The model of requests that name none, and the one that [`Server::run`](crate::Server::run) loads at once.
    pub default_model: String,
    /// The largest body that is read, in bytes. 16 MiB by default.
    pub max_body_bytes: usize,
    /// Prompts that are rendered and tokenized at a time. By default one per processor.
    pub max_preparing: usize,
    /// The form in which models call tools; by default that of their chat templates.
    pub tool_form: Option<ToolForm>,
    /// How long running requests may take after the server was told to stop. 30 seconds by default.
    pub grace: Duration,
    /// The sink of the models' metrics, from which `/stats` tells how long steps and requests take. None by default.
    pub recent: Option<Arc<RecentMetrics>>,
}

impl ServerConfig {
    /// The defaults, with the model of requests that name none.
    pub fn new(default_model: impl Into<String>) -> Self {
        Self {
            default_model: default_model.into(),
            max_body_bytes: 16 << 20,
            max_preparing: std::thread::available_parallelism().map_or(1, usize::from),
            tool_form: None,
            grace: Duration::from_secs(30),
            recent: None,
        }
    }

    /// Sets [`ServerConfig::max_body_bytes`](field@ServerConfig::max_body_bytes).
    #[must_use]
    pub fn max_body_bytes(self, max_body_bytes: usize) -> Self {
        Self { max_body_bytes, ..self }
    }

    /// Sets [`ServerConfig::tool_form`](field@ServerConfig::tool_form).
    #[must_use]
    pub fn tool_form(self, tool_form: ToolForm) -> Self {
        Self { tool_form: Some(tool_form), ..self }
    }

    /// Sets [`ServerConfig::recent`](field@ServerConfig::recent), which the specification of each model must have as its sink too.
    #[must_use]
    pub fn recent(self, recent: Arc<RecentMetrics>) -> Self {
        Self { recent: Some(recent), ..self }
    }

    /// Sets [`ServerConfig::grace`](field@ServerConfig::grace).
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}
