//! Requests to the hub and to the hosts that it sends us to: redirects, the token's scope, retries.

mod proxy;
mod refusal;
pub(crate) mod tls;
mod url;

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use crate::cancel::Cancel;
use crate::error::HubError;
use crate::settings::HubSettings;

pub(crate) use self::refusal::Subject;
pub(crate) use self::url::shown;
use self::url::{Origin, join};

const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A hub that asks to wait longer than this is left alone.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Why a request brought nothing.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It may work next time, perhaps only after some time.
    Again(HubError, Option<Duration>),
    /// It will not work next time.
    Final(HubError),
}

impl From<HubError> for Failed {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// What to do with a redirect to another host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Follow,
    Stop,
}

/// The connections of one hub.
#[derive(Debug)]
pub(crate) struct Http {
    settings: HubSettings,
    cancel: Cancel,
    plain: OnceLock<Result<Agent, Unusable>>,
    secure: OnceLock<Result<Agent, Unusable>>,
}

/// Why there are no connections of a kind.
#[derive(Clone, Debug)]
enum Unusable {
    Proxy { name: &'static str, value: String, reason: &'static str },
    Tls(String),
}

impl Http {
    pub(crate) fn new(settings: HubSettings, cancel: Cancel) -> Self {
        Self { settings, cancel, plain: OnceLock::new(), secure: OnceLock::new() }
    }

    /// Fetches `url` from the byte `from` on, wherever the hub sends us.
    pub(crate) fn get(&self, url: &str, from: u64, subject: &Subject<'_>) -> Result<Response<Body>, Failed> {
        self.request("GET", url, (from > 0).then_some(from), Elsewhere::Follow, subject)
    }

    /// The headers of `url` on the hub itself.
    pub(crate) fn head(&self, url: &str, subject: &Subject<'_>) -> Result<HeaderMap, Failed> {
        Ok(self.request("HEAD", url, None, Elsewhere::Stop, subject)?.into_parts().0.headers)
    }

    /// Tries until it works or there is no hope. `attempt` calls [`Retries::progressed`] when it got further than before.
    pub(crate) fn retrying<T>(
        &self,
        url: &str,
        mut attempt: impl FnMut(&mut Retries) -> Result<T, Failed>,
    ) -> Result<T, HubError> {
        let mut retries = Retries { n_failed: 0 };
        loop {
            self.cancel.check()?;
            let (error, after) = match attempt(&mut retries) {
                Ok(value) => return Ok(value),
                // A shut-down connection looks like a broken one.
                Err(Failed::Final(error) | Failed::Again(error, _)) if self.cancel.check().is_err() => {
                    drop(error);
                    return Err(HubError::Cancelled);
                }
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Again(error, after)) => (error, after),
            };
            retries.n_failed += 1;
            if retries.n_failed >= self.settings.attempts || after.is_some_and(|after| after > MAX_WAIT) {
                return Err(match error {
                    HubError::Connection { source, .. } => {
                        HubError::Connection { url: shown(url), attempts: retries.n_failed, source }
                    }
                    other => other,
                });
            }
            let pause = self.settings.first_pause * (1 << (retries.n_failed - 1).min(6));
            self.cancel.wait(after.unwrap_or(pause))?;
        }
    }

    fn request(
        &self,
        method: &str,
        url: &str,
        from: Option<u64>,
        elsewhere: Elsewhere,
        subject: &Subject<'_>,
    ) -> Result<Response<Body>, Failed> {
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let response = self.request_once(method, &url, from, subject)?;
            let status = response.status().as_u16();
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            match (status, location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let Some(next) = join(&url, location) else {
                        return Err(answer(&url, "a redirect to an address that is none").into());
                    };
                    if elsewhere == Elsewhere::Stop && Origin::of(&next) != Origin::of(&url) {
                        return Ok(response);
                    }
                    url = next;
                }
                (200 | 206, _) => return Ok(response),
                _ => return Err(refusal::of(&response, &url, subject)),
            }
        }
        Err(answer(&url, "more redirects than anybody needs").into())
    }

    /// One request, without following anything.
    fn request_once(
        &self,
        method: &str,
        url: &str,
        from: Option<u64>,
        subject: &Subject<'_>,
    ) -> Result<Response<Body>, Failed> {
        let agent = self.agent(url)?;
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(url)
            .header("user-agent", concat!("smallmind/", env!("CARGO_PKG_VERSION")))
            // Offsets count bytes of the file.
            .header("accept-encoding", "identity");
        if let Some(from) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        // Other hosts get signed addresses, and never the token.
        if let Some(token) = &self.settings.token
            && Origin::of(url).is_some()
            && Origin::of(url) == Origin::of(subject.endpoint)
        {
            request = request.header("authorization", format!("Bearer {}", token.secret));
        }
        let request =
            request.body(()).map_err(|error| answer(url, &format!("an address that is none: {error}")))?;
        agent.run(request).map_err(|error| failure(url, error))
    }

    fn agent(&self, url: &str) -> Result<&Agent, HubError> {
        let (cell, scheme) =
            if url.starts_with("https://") { (&self.secure, "https") } else { (&self.plain, "http") };
        let agent = cell.get_or_init(|| {
            let agent = self.new_agent(scheme)?;
            self.cancel.watch(agent.clone());
            Ok(agent)
        });
        agent.as_ref().map_err(|unusable| match unusable.clone() {
            Unusable::Proxy { name, value, reason } => HubError::Setting { name, value, reason },
            Unusable::Tls(reason) => HubError::Tls { url: shown(url), reason },
        })
    }

    fn new_agent(&self, scheme: &str) -> Result<Agent, Unusable> {
        let proxy = proxy::proxy(&self.settings.proxies, scheme).map_err(|error| match error {
            HubError::Setting { name, value, reason } => Unusable::Proxy { name, value, reason },
            other => Unusable::Tls(other.to_string()),
        })?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(self.settings.max_silence))
            .timeout_per_write(Some(self.settings.max_silence))
            .proxy(proxy);
        if scheme == "https" {
            config = config.tls_config(tls::config().map_err(Unusable::Tls)?);
        }
        Ok(config.build().new_agent())
    }
}

/// How often a request failed since it last got any further.
#[derive(Debug)]
pub(crate) struct Retries {
    n_failed: u32,
}

impl Retries {
    /// Something was received: the connection is worth further attempts.
    pub(crate) fn progressed(&mut self) {
        self.n_failed = 0;
    }
}

/// An answer that is none.
pub(crate) fn answer(url: &str, reason: &str) -> HubError {
    HubError::Answer { url: shown(url), reason: reason.to_owned() }
}

/// Sorts failures of a connection: a certificate stays wrong, everything else may pass.
pub(crate) fn failure(url: &str, error: ureq::Error) -> Failed {
    let reason = match &error {
        ureq::Error::Rustls(error) => Some(error.to_string()),
        // Handshakes report what they find as errors of reading.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Some(error.to_string()),
        ureq::Error::Tls(reason) => Some((*reason).to_owned()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            return answer(url, "an address that is none").into();
        }
        _ => None,
    };
    match reason {
        Some(reason) => {
            let remedy = "if a proxy or mirror has its own certificate, set SSL_CERT_FILE to a list with it";
            HubError::Tls { url: shown(url), reason: format!("{reason}; {remedy}") }.into()
        }
        None => interrupted(url, error),
    }
}

/// A connection that was cut.
pub(crate) fn interrupted(url: &str, error: impl std::error::Error + Send + Sync + 'static) -> Failed {
    Failed::Again(HubError::Connection { url: shown(url), attempts: 1, source: Box::new(error) }, None)
}
