//! OpenTelemetry, in builds with the feature `otel`. The variables of its specification are the settings; without the feature, a note
//! says that they have no effect.

use sm_server::ServerConfig;

use crate::console::Console;
use crate::failure::Failure;

/// What is left to do when the server ends.
#[must_use]
pub(super) struct Traces {
    #[cfg(feature = "otel")]
    traces: Option<sm_server::Traces>,
}

/// Begins to send traces, if the environment names a collector.
///
/// # Errors
/// If its variables are wrong.
#[cfg(feature = "otel")]
pub(super) fn begin(config: ServerConfig, console: &Console) -> Result<(ServerConfig, Traces), Failure> {
    let Some(mut settings) = sm_server::TracesConfig::from_environment()? else {
        return Ok((config, Traces { traces: None }));
    };
    match sm_hub::tls_config() {
        Ok(tls) => settings = settings.tls(tls),
        // It matters only if the address begins with https.
        Err(reason) => console.note(format_args!("traces cannot be sent with HTTPS: {reason}")),
    }
    let traces = sm_server::Traces::new(settings)?;
    Ok((config.traces(traces.clone()), Traces { traces: Some(traces) }))
}

/// Nothing is sent.
///
/// # Errors
/// None; there are some with the feature.
#[cfg(not(feature = "otel"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
pub(super) fn begin(config: ServerConfig, console: &Console) -> Result<(ServerConfig, Traces), Failure> {
    let names = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    if let Some(name) = names.into_iter().find(|name| std::env::var_os(name).is_some()) {
        console.note(format_args!(
            "{name} has no effect: this program was built without traces; build it with --features otel"
        ));
    }
    Ok((config, Traces {}))
}

impl Traces {
    /// Sends what is left.
    #[cfg_attr(not(feature = "otel"), expect(clippy::unused_self, reason = "as with the feature"))]
    pub(super) fn end(&self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = &self.traces {
            traces.shut_down();
        }
    }
}
