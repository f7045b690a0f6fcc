//! The options that commands share.

mod chat;
mod end;
mod engine;
mod grammar;
mod kv_disk;
mod model;
pub(crate) mod number;
mod request_defaults;
mod sampling;
mod speculation;
mod template;
mod tokenizer;

pub(crate) use chat::{ChatArgs, ChatSetup};
pub(crate) use end::EndArgs;
pub(crate) use engine::{EngineArgs, LoadArgs, Served, ServedTemplate};
pub(crate) use grammar::{GrammarArgs, is_cut};
pub(crate) use model::ModelArgs;
pub(crate) use request_defaults::RequestDefaultsArgs;
pub(crate) use sampling::{SamplingArgs, recommendations};
pub(crate) use tokenizer::VocabularyArgs;

use tracing_subscriber::filter::LevelFilter;

/// The name of the built-in model.
pub(crate) const DEMO: &str = "demo";

/// Options of every command.
#[derive(Debug, clap::Args)]
pub(crate) struct GlobalArgs {
    /// Suppress progress, notes and timings on stderr; errors are still shown
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Use only models that are in the cache, and connect to no hub
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Minimum level logged to stderr
    #[arg(long, global = true, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Warn)]
    pub(crate) log_level: LogLevel,
    /// Form of the log: lines for people, or one JSON object per line
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

/// The minimum level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// Nothing
    Off,
    /// Failures
    Error,
    /// Problems that were worked around
    Warn,
    /// Engine start and shutdown, with the configuration
    Info,
    /// Every request, and every step with its requests, rows, waits and duration
    Debug,
    /// Everything
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}
