//! The log on stderr.

use std::sync::OnceLock;

use clap::ValueEnum as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::args::{LogFormat, LogLevel};

/// What changes the level. There is one log in a process, so there is one of these.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts to log.
pub(crate) fn init(level: LogLevel, format: LogFormat) {
    let (filter, handle) = reload::Layer::new(LevelFilter::from(level));
    // It is set only once.
    let _ = LEVEL.set(handle);
    let log = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => log.with(fmt::layer().with_writer(std::io::stderr)).init(),
        LogFormat::Json => {
            log.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
        }
    }
}

/// Changes the level of the log, by its name.
///
/// # Errors
/// The names that there are.
pub(crate) fn set_level(name: &str) -> Result<(), String> {
    let level = LogLevel::from_str(name, true).map_err(|_| {
        let names = LogLevel::value_variants().iter().filter_map(clap::ValueEnum::to_possible_value);
        let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
        format!("level: {name:?} is none of {}", names.join(", "))
    })?;
    match LEVEL.get().map(|handle| handle.reload(LevelFilter::from(level))) {
        Some(Ok(())) => Ok(()),
        _ => Err("level: the log has ended".to_owned()),
    }
}
