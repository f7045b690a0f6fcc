//! The settings of a server.

use std::sync::Arc;
use std::time::Duration;

use sm_runtime::{GenerationOptions, RecentMetrics};

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
    /// Options of requests that set none, over those that the model's authors recommend. None by default.
    pub defaults: RequestDefaults,
    /// The file of the default model, as `/props` shows it. None by default.
    pub model_path: Option<String>,
    /// Whether `/slots` shows what runs. It does by default.
    pub shows_slots: bool,
}

/// Options of requests that set none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RequestDefaults {
    /// The temperature.
    pub temperature: Option<f32>,
    /// The seed.
    pub seed: Option<u64>,
    /// The most tokens to generate.
    pub max_tokens: Option<usize>,
}

impl RequestDefaults {
    pub(crate) fn apply(self, options: &mut GenerationOptions) {
        let sampling = &mut options.sampling;
        sampling.temperature = self.temperature.unwrap_or(sampling.temperature);
        sampling.seed = self.seed.or(sampling.seed);
        options.limits.max_new_tokens = self.max_tokens.unwrap_or(options.limits.max_new_tokens);
    }
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
            defaults: RequestDefaults::default(),
            model_path: None,
            shows_slots: true,
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
