//! The settings of a server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use sm_runtime::{GenerationOptions, RecentMetrics};

use crate::chat::{ReasoningFormat, ToolForm};
use crate::connections::TlsSource;
use crate::filter::ContentFilter;
use crate::keys::{KeySources, RateLimit, RedisFallback, SharedLimitsConfig};
use crate::loading::LoadProgress;
use crate::metrics::Metrics;
use crate::model_source::ModelSource;
use crate::page_tabs::PageTabs;
use crate::traces::Traces;

/// The settings of a server.
///
/// ```
/// use std::time::Duration;
///
/// use sm_server::ServerConfig;
///
/// let config = ServerConfig::new("demo").grace(Duration::from_secs(5)).api_key("secret");
/// assert_eq!(config.max_body_bytes, 16 << 20);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The model of requests that name none, and the one that [`Server::run`](crate::Server::run) loads at once.
    pub default_model: String,
    /// The largest body that is read, in bytes. 16 MiB by default.
    pub max_body_bytes: usize,
    /// The most log-probabilities of likely tokens that a request may ask for at each position. 20 by default, as in vLLM: at a long
    /// prompt, those of a whole vocabulary would take gigabytes.
    pub max_logprobs: usize,
    /// Tokens whose text a stream sends at a time, but for the first one. One by default.
    pub stream_interval: usize,
    /// Prompts that are rendered and tokenized at a time. By default one per processor.
    pub max_preparing: usize,
    /// The form in which models call tools; by default that of their chat templates.
    pub tool_form: Option<ToolForm>,
    /// Where the thoughts of answers to `/v1/chat/completions` go whose requests do not say. By default apart from the content.
    pub reasoning_format: Option<ReasoningFormat>,
    /// How long running requests may take after the server was told to stop. 30 seconds by default.
    pub grace: Duration,
    /// Connections at a time; more wait to be accepted. 4,096 by default.
    pub max_connections: usize,
    /// Until the headers of a request have arrived, and how long a connection may idle. 75 seconds by default, longer than the
    /// 60 seconds for which proxies keep theirs: whoever closes first must be the proxy.
    pub header_timeout: Duration,
    /// Until the body of a request has arrived. 60 seconds by default.
    pub body_timeout: Duration,
    /// Until a client that reads nothing of its answer is given up. 60 seconds by default.
    pub write_timeout: Duration,
    /// How long a request may wait for its turn. Unlimited by default: the queue is bounded by its length.
    pub queue_timeout: Option<Duration>,
    /// How long a request may take from its submission. Unlimited by default.
    pub request_timeout: Option<Duration>,
    /// Web pages from these origins may call the server; `*` is all. None by default.
    pub cors_origins: Vec<String>,
    /// How often each key or address may call each endpoint. Unlimited by default.
    pub rate_limit: Option<RateLimit>,
    /// Models loaded at a time; another one takes the place of the one that was idle longest. Unlimited by default.
    pub max_models: Option<usize>,
    /// Models that nobody has used for so long are unloaded. Never by default.
    pub idle_unload: Option<Duration>,
    /// Models that stay loaded, by name. They are loaded when the server starts.
    pub pinned_models: Vec<String>,
    /// The sink of the models' metrics, from which `/stats` tells how long steps and requests take. None by default.
    pub recent: Option<Arc<RecentMetrics>>,
    /// Options of requests that set none, over those that the model's authors recommend. None by default.
    pub defaults: RequestDefaults,
    /// The file of the default model, as `/props` shows it. None by default.
    pub model_path: Option<String>,
    /// Whether `/slots` shows what runs. It does by default.
    pub shows_slots: bool,
    /// Whether there is a page at `/`. There is by default.
    pub shows_page: bool,
    /// Tabs of the page instead of its own. None by default.
    pub page_tabs: Option<PageTabs>,
    /// What the models are for, as `/v1/models` lists it. Nothing by default.
    pub tags: Vec<String>,
    /// Whether `/metrics` is served. It is by default.
    pub shows_metrics: bool,
    /// Whether chats whose last message is the assistant's are continued by default, as by llama.cpp. Off by default.
    pub prefills_assistant: bool,
    /// Whether answers to chats have their prompt and settings as `__verbose`, as those of llama.cpp. Off by default: a body can
    /// ask for it with `verbose`.
    pub has_verbose_answers: bool,
    /// Whether the log shows what requests say, without what looks like keys, addresses and long numbers. Off by default.
    pub logs_prompts: bool,
    /// Whether requests for models that do not exist get the default model: some clients cannot be told a name. Off by default.
    pub any_model: bool,
    /// Answers to greedy and seeded requests that are kept, to be sent again. 0 by default: none.
    pub response_cache: usize,
    /// How long they are kept. 5 minutes by default.
    pub response_cache_age: Duration,
    /// Where models come from that clients pull. None by default: they cannot.
    pub model_source: Option<Arc<dyn ModelSource>>,
    pub(crate) traces: Option<Traces>,
    pub(crate) content_filter: Option<Arc<dyn ContentFilter>>,
    pub(crate) keys: KeySources,
    pub(crate) tls: Option<TlsSource>,
    pub(crate) shared_limits: Option<SharedLimitsConfig>,
    pub(crate) metrics: Metrics,
    pub(crate) loading: LoadProgress,
    pub(crate) log_level: Option<LogLevel>,
}

type SetLevel = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Sets the level of the log by its name.
#[derive(Clone)]
pub(crate) struct LogLevel(pub(crate) Arc<SetLevel>);

impl std::fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogLevel")
    }
}

/// A setter for each field, named as the field.
macro_rules! setters {
    ($($name:ident: $kind:ty,)*) => {
        $(
            #[doc = concat!("Sets [`ServerConfig::", stringify!($name), "`](field@ServerConfig::", stringify!($name), ").")]
            #[must_use]
            pub fn $name(self, $name: $kind) -> Self {
                Self { $name, ..self }
            }
        )*
    };
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
            max_logprobs: 20,
            stream_interval: 1,
            max_preparing: std::thread::available_parallelism().map_or(1, usize::from),
            tool_form: None,
            reasoning_format: None,
            grace: Duration::from_secs(30),
            max_connections: 4096,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            queue_timeout: None,
            request_timeout: None,
            cors_origins: Vec::new(),
            rate_limit: None,
            max_models: None,
            idle_unload: None,
            pinned_models: Vec::new(),
            recent: None,
            defaults: RequestDefaults::default(),
            model_path: None,
            shows_slots: true,
            logs_prompts: false,
            shows_page: true,
            page_tabs: None,
            tags: Vec::new(),
            shows_metrics: true,
            prefills_assistant: false,
            has_verbose_answers: false,
            any_model: false,
            response_cache: 0,
            response_cache_age: Duration::from_secs(300),
            model_source: None,
            traces: None,
            content_filter: None,
            keys: KeySources::default(),
            tls: None,
            shared_limits: None,
            metrics: Metrics::default(),
            loading: LoadProgress::default(),
            log_level: None,
        }
    }

    setters! {
        max_body_bytes: usize,
        max_logprobs: usize,
        stream_interval: usize,
        grace: Duration,
        max_connections: usize,
        header_timeout: Duration,
        body_timeout: Duration,
        write_timeout: Duration,
        queue_timeout: Option<Duration>,
        request_timeout: Option<Duration>,
        cors_origins: Vec<String>,
        rate_limit: Option<RateLimit>,
        max_models: Option<usize>,
        idle_unload: Option<Duration>,
        pinned_models: Vec<String>,
        page_tabs: Option<PageTabs>,
        response_cache: usize,
        response_cache_age: Duration,
        model_source: Option<Arc<dyn ModelSource>>,
    }

    /// Sets [`ServerConfig::reasoning_format`](field@ServerConfig::reasoning_format).
    #[must_use]
    pub fn reasoning_format(self, reasoning_format: ReasoningFormat) -> Self {
        Self { reasoning_format: Some(reasoning_format), ..self }
    }

    /// Sends traces of requests, which are sent nowhere by default.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn traces(self, traces: Traces) -> Self {
        Self { traces: Some(traces), ..self }
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

    /// Adds a key that allows everything but administration. Once there is one, nobody may call without a key.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.keys.keys.push(key.into());
        self
    }

    /// Adds a key that also allows administration.
    #[must_use]
    pub fn admin_key(mut self, key: impl Into<String>) -> Self {
        self.keys.admin_keys.push(key.into());
        self
    }

    /// Adds the keys of a file, which is read again when it changes.
    #[must_use]
    pub fn keys_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keys.file = Some(path.into());
        self
    }

    /// Serves HTTP over TLS, with a certificate and its key from PEM files, which are read again when they change. `provider` is
    /// what encrypts.
    #[must_use]
    pub fn tls(
        self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let tls = TlsSource { certificate: certificate.into(), key: key.into(), provider };
        Self { tls: Some(tls), ..self }
    }

    /// Shares the limits on requests and tokens, those of keys and [`ServerConfig::rate_limit`](field@ServerConfig::rate_limit), with
    /// other replicas through Redis, at `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`.
    #[must_use]
    pub fn shared_limits(self, url: impl Into<String>, fallback: RedisFallback) -> Self {
        Self { shared_limits: Some(SharedLimitsConfig { url: url.into(), fallback }), ..self }
    }

    /// Sets what decides which texts are served.
    #[must_use]
    pub fn content_filter(self, filter: impl ContentFilter + 'static) -> Self {
        Self { content_filter: Some(Arc::new(filter)), ..self }
    }

    /// Sets the metrics, whose [sinks](Metrics::sink) the models' specifications have.
    #[must_use]
    pub fn metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Sets where the models' specifications report how far their loading is, for `/ready`.
    #[must_use]
    pub fn loading(self, loading: LoadProgress) -> Self {
        Self { loading, ..self }
    }

    /// Sets what changes the level of the log, by a name such as `debug`. Its error says which names there are.
    #[must_use]
    pub fn log_level(self, set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { log_level: Some(LogLevel(Arc::new(set))), ..self }
    }
}
