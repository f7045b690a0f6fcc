//! Sends spans to a collector, as OTLP over HTTP.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use ureq::tls::TlsConfig;

use crate::ServerError;

/// Variables that say where a collector is; the first one is for traces alone.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// How long a collector may take: the default of the specification.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where spans go.
///
/// What is not set is read from the variables of the specification: `OTEL_EXPORTER_OTLP_ENDPOINT` and `_TRACES_ENDPOINT`, `_HEADERS`,
/// `_TIMEOUT`; `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`; `OTEL_TRACES_SAMPLER`; `OTEL_BSP_SCHEDULE_DELAY` and the like
/// (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TracesConfig {
    /// The address that spans are posted to, with its path.
    pub endpoint: Option<String>,
    /// How long a collector may take. 10 seconds by default.
    pub timeout: Duration,
    /// Certificates and cryptography for collectors with HTTPS.
    pub tls: Option<TlsConfig>,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { endpoint: None, timeout: TIMEOUT, tls: None }
    }
}

impl TracesConfig {
    /// The settings of the environment; `None` if it names no collector, or wants no traces.
    ///
    /// # Errors
    /// If it wants them in a way that this program does not know.
    pub fn from_environment() -> Result<Option<Self>, ServerError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ServerError> {
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let first =
            |names: &[&str]| names.iter().find_map(|name| given(name).map(|value| (name.to_string(), value)));
        let is_disabled = given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporter = given("OTEL_TRACES_EXPORTER");
        if is_disabled || first(&ENDPOINTS).is_none() || exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        if let Some(other) = exporter.filter(|exporter| exporter != "otlp") {
            let message = format!("OTEL_TRACES_EXPORTER is {other:?}; this program knows otlp and none");
            return Err(ServerError::Traces { message });
        }
        if let Some((name, protocol)) = first(&PROTOCOLS).filter(|(_, protocol)| protocol != "http/protobuf")
        {
            let message = format!(
                "{name} is {protocol:?}; this program sends http/protobuf, for which collectors listen at port 4318"
            );
            return Err(ServerError::Traces { message });
        }
        let timeout = match first(&TIMEOUTS) {
            None => TIMEOUT,
            Some((name, value)) => {
                let milliseconds = value.trim().parse().map_err(|_| {
                    let message = format!("{name} is {value:?}; it must be a whole number of milliseconds");
                    ServerError::Traces { message }
                })?;
                Duration::from_millis(milliseconds)
            }
        };
        Ok(Some(Self { timeout, ..Self::default() }))
    }

    /// Sets [`TracesConfig::endpoint`].
    #[must_use]
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: Some(endpoint.into()), ..self }
    }

    /// Sets [`TracesConfig::tls`].
    #[must_use]
    pub fn tls(self, tls: TlsConfig) -> Self {
        Self { tls: Some(tls), ..self }
    }
}

/// Collects spans and sends them in batches, on a thread of its own. Clones are the same.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Begins to send.
    ///
    /// # Errors
    /// If the settings are wrong. A collector that cannot be reached is no error: it is reported in the log.
    pub fn new(config: TracesConfig) -> Result<Self, ServerError> {
        let mut builder = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new(config.timeout, config.tls))
            .with_protocol(Protocol::HttpBinary);
        if let Some(endpoint) = config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let exporter = builder.build().map_err(|error| ServerError::Traces { message: error.to_string() })?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        let tracer = provider.tracer("smallmind");
        Ok(Self { provider, tracer })
    }

    pub(super) fn tracer(&self) -> &SdkTracer {
        &self.tracer
    }

    /// Sends what is left, and ends. Blocks.
    pub fn shut_down(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// What spans are of: the variables of the environment, and our name where they give none.
fn resource() -> Resource {
    let name = opentelemetry::Key::from_static_str("service.name");
    let found = Resource::builder().build();
    let is_named = found.get(&name).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder();
    if !is_named {
        builder = builder.with_service_name("smallmind");
    }
    builder.with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build()
}

/// Posts spans. It blocks, which nobody minds: the exporter waits on its own thread for each batch.
struct Client(ureq::Agent);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn new(timeout: Duration, tls: Option<TlsConfig>) -> Self {
        let mut config =
            ureq::Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false);
        if let Some(tls) = tls {
            config = config.tls_config(tls);
        }
        Self(config.build().new_agent())
    }

    fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(parts, body.to_vec()))?;
        let (parts, mut body) = answer.into_parts();
        let bytes = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
        Ok(Response::from_parts(parts, bytes.into()))
    }
}

/// A collector has little to say.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

impl HttpClient for Client {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(ready(self.post(request)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_whether_there_are_traces() {
        let read = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            TracesConfig::from_variables(variable)
                .map(|config| config.is_some())
                .map_err(|error| error.to_string())
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert_eq!(read(&[]), Ok(false));
        assert_eq!(read(&[endpoint]), Ok(true));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x/v1/traces")]), Ok(true));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(false));
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(false));
        assert_eq!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        let grpc = read(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(grpc.contains("OTEL_EXPORTER_OTLP_PROTOCOL") && grpc.contains("4318"), "{grpc}");
        assert_eq!(read(&[endpoint, ("OTEL_EXPORTER_OTLP_TIMEOUT", "500")]), Ok(true));
        assert!(read(&[endpoint, ("OTEL_EXPORTER_OTLP_TIMEOUT", "1s")]).is_err());
        let zipkin = read(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(zipkin.contains("zipkin"), "{zipkin}");
    }
}
