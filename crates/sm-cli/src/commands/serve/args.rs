//! The options of `sm serve`.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use sm_runtime::ByteSize;
use sm_server::chat::{ReasoningFormat, ToolForm};
use sm_server::{MetricsCompat, RateLimit, RedisFallback};

use super::kv_events::KvEventsArgs;
use crate::args::number::at_least_one;
use crate::args::{EngineArgs, RequestDefaultsArgs};

/// Serve models over HTTP, for the clients of OpenAI, Anthropic and Ollama
#[derive(Debug, clap::Args)]
#[command(
    alias = "server",
    mut_arg("model", |arg| arg.env("MODEL_PATH").help(
        "Hugging Face directory, GGUF, safetensors or .smnd file, or `demo`; MODEL=NAME gives it a name. Several are loaded when \
         they are asked for",
    )),
    after_help = "\
Examples:
  sm serve
  sm serve -m model.gguf --port 8080 --alias gpt-4o --parallel 16
  sm serve -m qwen3.gguf=qwen -m granite.gguf=granite --max-models 1
  sm serve --config sm.toml

  curl http://127.0.0.1:8000/v1/chat/completions \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is 17 + 25?\"}]}'

It stops on Ctrl-C or SIGTERM: new requests are refused, and running ones have --grace seconds to finish. On SIGHUP it reads
its keys and its certificate again. docs/server.md lists the endpoints; --help-config prints the keys of the configuration file."
)]
pub(crate) struct Args {
    /// TOML file with settings: the long names of these options as keys; the command line and the environment take precedence
    #[arg(long, env = "SM_CONFIG", value_name = "FILE", help_heading = "Server")]
    config: Option<PathBuf>,
    /// Print all keys of the configuration file, and exit
    #[arg(long, help_heading = "Server")]
    pub(super) help_config: bool,
    /// Addresses to listen on, separated by commas
    #[arg(long, env = "HOST", value_name = "ADDRESS", value_delimiter = ',', default_values_t = [IpAddr::V4(Ipv4Addr::LOCALHOST)], help_heading = "Server")]
    pub(super) host: Vec<IpAddr>,
    /// Port to listen on; 0 picks a free one
    #[arg(long, env = "PORT", value_name = "N", default_value_t = 8000, help_heading = "Server")]
    pub(super) port: u16,
    /// Listen on a unix socket instead
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", help_heading = "Server")]
    pub(super) unix_socket: Option<PathBuf>,
    /// Another name for the first model; may be repeated
    #[arg(long, visible_alias = "served-model-name", value_name = "NAME", help_heading = "Server")]
    pub(super) alias: Vec<String>,
    /// What the models are for, as /v1/models lists it, separated by commas
    #[arg(long, value_name = "TAG", value_delimiter = ',', help_heading = "Server")]
    pub(super) tags: Vec<String>,
    /// Do not serve a page at /
    #[arg(long, help_heading = "Server")]
    pub(super) no_ui: bool,
    /// Also listen on this port, where the original documents have the page
    #[cfg_attr(unix, arg(conflicts_with = "unix_socket"))]
    #[arg(long, env = "UI_PORT", value_name = "N", help_heading = "Server")]
    pub(super) ui_port: Option<u16>,
    /// Tabs of the page and their examples, a JSON file in the form of /ui/tabs.json
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(super) ui_tabs: Option<PathBuf>,
    /// Form in which models call tools [default: that of the chat template]
    #[arg(long, value_name = "NAME", value_parser = tool_form(), hide_possible_values = true, help_heading = "Server")]
    pub(super) tool_call_parser: Option<ToolForm>,
    /// Where the thoughts of chats go: apart from the content, or into it with their marks, as the model writes them [default: auto]
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Server")]
    pub(super) reasoning_format: Option<Thoughts>,
    /// Further models
    #[arg(long, value_name = "MODEL", hide = true)]
    pub(super) more_models: Vec<PathBuf>,
    /// Models loaded at a time; another one takes the place of the one that was idle longest [default: no limit]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Server")]
    pub(super) max_models: Option<NonZeroUsize>,
    /// Unload models that nobody has used for so many seconds; 0 never
    #[arg(
        long,
        visible_alias = "sleep-idle-seconds",
        value_name = "SECONDS",
        default_value_t = 0,
        help_heading = "Server"
    )]
    pub(super) idle_unload: u64,
    /// Load this model at the start and keep it; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub(super) pin: Vec<String>,
    /// Quantize the weights to 4 bits while loading
    #[arg(long, env = "LOAD_IN_4BIT", value_parser = BoolishValueParser::new(), conflicts_with_all = ["load_in_8bit", "quant"], help_heading = "Server")]
    pub(super) load_in_4bit: bool,
    /// Quantize the weights to 8 bits while loading
    #[arg(long, env = "LOAD_IN_8BIT", value_parser = BoolishValueParser::new(), conflicts_with = "quant", help_heading = "Server")]
    pub(super) load_in_8bit: bool,
    /// Accepted: there is one attention, which gives the same tokens
    #[arg(long, hide = true)]
    pub(super) no_flash_attention: bool,
    /// Requests that run at a time
    #[arg(
        long,
        visible_alias = "max-num-seqs",
        value_name = "N",
        default_value_t = 8,
        help_heading = "Limits"
    )]
    pub(super) parallel: usize,
    /// Requests that wait at most; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Limits")]
    pub(super) max_queued: usize,
    /// Rows of a step at most: prompt tokens and one per running sequence [default: the engine's]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Limits")]
    pub(super) max_step_tokens: Option<NonZeroUsize>,
    /// Send the text of a stream for so many tokens at a time, but for the first one: less work per token, less smoothly
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Limits")]
    pub(super) stream_interval: NonZeroUsize,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Limits")]
    pub(super) max_connections: usize,
    /// Largest body of a request, as in 16M
    #[arg(long, value_name = "N", default_value = "16M", help_heading = "Limits")]
    pub(super) max_body: ByteSize,
    /// Log-probabilities of likely tokens that a request may ask for at each position
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Limits")]
    pub(super) max_logprobs: usize,
    /// Seconds for the headers of a request, and for which a connection may idle
    #[arg(long, value_name = "SECONDS", default_value_t = 75, help_heading = "Limits")]
    pub(super) header_timeout: u64,
    /// Seconds for the body of a request
    #[arg(long, value_name = "SECONDS", default_value_t = 60, help_heading = "Limits")]
    pub(super) body_timeout: u64,
    /// Seconds until a client that reads nothing is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60, help_heading = "Limits")]
    pub(super) write_timeout: u64,
    /// Seconds that a request may wait for its turn; 0 is no limit
    #[arg(long, value_name = "SECONDS", default_value_t = 0, help_heading = "Limits")]
    pub(super) queue_timeout: u64,
    /// Seconds that a request may take in all; 0 is no limit
    #[arg(long, value_name = "SECONDS", default_value_t = 0, help_heading = "Limits")]
    pub(super) request_timeout: u64,
    /// Seconds that running requests may take after the server was told to stop
    #[arg(
        long,
        visible_alias = "shutdown-timeout",
        value_name = "SECONDS",
        default_value_t = 30,
        help_heading = "Limits"
    )]
    pub(super) grace: u64,
    /// Answers to greedy and seeded requests that are kept, to be sent again
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Limits")]
    pub(super) response_cache: usize,
    /// Seconds that they are kept
    #[arg(long, value_name = "SECONDS", default_value_t = 300, help_heading = "Limits")]
    pub(super) response_cache_age: u64,
    /// How often each key or address may call each endpoint, as in 10/60 for 10 requests in 60 seconds
    #[arg(long, value_name = "N/SECONDS", help_heading = "Limits")]
    pub(super) rate_limit: Option<RateLimit>,
    /// Share --rate-limit and the limits of keys with other replicas through Redis, as in redis://USER:PASSWORD@HOST:6379/0
    #[arg(
        long,
        env = "SM_RATE_LIMIT_REDIS",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Limits"
    )]
    pub(super) rate_limit_redis: Option<String>,
    /// What becomes of requests when Redis cannot be reached
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Fallback::Alone, requires = "rate_limit_redis", help_heading = "Limits")]
    pub(super) rate_limit_fallback: Fallback,
    /// Serve HTTPS with the certificate in FILE, a PEM file; read again when it changes
    #[arg(long, visible_aliases = ["ssl-certfile", "ssl-cert-file"], value_name = "FILE", requires = "tls_key", help_heading = "Access")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, a PEM file
    #[arg(long, visible_aliases = ["ssl-keyfile", "ssl-key-file"], value_name = "FILE", requires = "tls_cert", help_heading = "Access")]
    pub(super) tls_key: Option<PathBuf>,
    /// Key that callers must send; may be repeated
    #[arg(long, env = "SM_API_KEY", hide_env_values = true, value_name = "KEY", value_parser = key, help_heading = "Access")]
    pub(super) api_key: Vec<String>,
    /// File with one such key per line
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub(super) api_key_file: Option<PathBuf>,
    /// File of hashed keys with their limits, made with `sm keys new`; read again when it changes
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub(super) api_keys: Option<PathBuf>,
    /// Key for /admin; may be repeated
    #[arg(long, env = "SM_ADMIN_KEY", hide_env_values = true, value_name = "KEY", value_parser = key, help_heading = "Access")]
    pub(super) admin_key: Vec<String>,
    /// File of terms, one per line, that no request may contain
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub(super) content_filter: Option<PathBuf>,
    /// Origin whose web pages may call, or *; may be repeated
    #[arg(long, value_name = "ORIGIN", help_heading = "Access")]
    pub(super) cors_allow_origin: Vec<String>,
    /// Also serve /metrics on this port, without a key
    #[arg(long, value_name = "N", help_heading = "Metrics")]
    pub(super) metrics_port: Option<u16>,
    /// Also call metrics as another system does
    #[arg(long, value_name = "SYSTEM", value_enum, help_heading = "Metrics")]
    pub(super) metrics_compat: Option<Compat>,
    /// Let clients pull models: POST /api/pull fetches them from the hub, or adds a file or folder of this machine
    #[arg(long, help_heading = "Access")]
    pub(super) allow_pull: bool,
    /// Do not serve /metrics
    #[arg(long, help_heading = "Metrics")]
    pub(super) no_metrics: bool,
    /// Continue the last message of a chat if it is the assistant's, as llama-server does
    #[arg(long, help_heading = "Server")]
    pub(super) prefill_assistant: bool,
    /// Log what requests say, at the level info, without what looks like keys, e-mail addresses and long numbers
    #[arg(long, help_heading = "Access")]
    pub(super) log_prompts: bool,
    /// Give answers to chats the prompt and the settings as `__verbose`, as llama-server does
    #[arg(long, help_heading = "Server")]
    pub(super) verbose_answers: bool,
    /// Answer requests for models that do not exist with the first model
    #[arg(long, help_heading = "Access")]
    pub(super) any_model: bool,
    /// Do not show at /slots what runs
    #[arg(long, help_heading = "Access")]
    pub(super) no_slots: bool,
    #[command(flatten)]
    pub(super) defaults: RequestDefaultsArgs,
    #[command(flatten)]
    pub(super) kv_events: KvEventsArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
}

/// What becomes of requests when limits cannot be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Fallback {
    /// Each replica applies the limits by itself
    Alone,
    /// They are refused with 503
    Refuse,
}

impl From<Fallback> for RedisFallback {
    fn from(fallback: Fallback) -> Self {
        match fallback {
            Fallback::Alone => Self::Alone,
            Fallback::Refuse => Self::Refuse,
        }
    }
}

/// Where the thoughts of chats go, in the words of llama-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Thoughts {
    /// They stay in the content
    None,
    /// To `reasoning_content`
    #[value(name = "deepseek")]
    DeepSeek,
    /// As `deepseek`
    Auto,
}

impl From<Thoughts> for ReasoningFormat {
    fn from(thoughts: Thoughts) -> Self {
        match thoughts {
            Thoughts::None => Self::InContent,
            Thoughts::DeepSeek | Thoughts::Auto => Self::Apart,
        }
    }
}

/// A system whose names metrics can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compat {
    /// vLLM
    Vllm,
    /// llama-server
    #[value(name = "llamacpp")]
    LlamaCpp,
}

impl From<Compat> for MetricsCompat {
    fn from(compat: Compat) -> Self {
        match compat {
            Compat::Vllm => Self::Vllm,
            Compat::LlamaCpp => Self::LlamaCpp,
        }
    }
}

fn tool_form() -> impl TypedValueParser<Value = ToolForm> {
    PossibleValuesParser::new(ToolForm::names())
        .try_map(|name| ToolForm::of_name(&name).ok_or_else(|| format!("there is no form {name}")))
}

/// An empty key would look like protection and be none.
fn key(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("it is empty; leave the option or its variable out, or give a key")
    } else {
        Ok(text.to_owned())
    }
}
