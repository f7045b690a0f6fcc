//! The page on its own, for a server that runs elsewhere: `sm ui`.
//!
//! The page talks to that server itself, which must allow it by CORS. Passing requests on instead would make this a second server,
//! which has to stream, bound and time out as well as the first.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, http::uri::Scheme};

use super::{Api, INDEX, Page, PageTabs};
use crate::ServerError;
use crate::connections::{ConnectionSettings, Listener, serve};

/// How long a client may take for its headers, or to read an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long open connections have after the server was told to stop.
const LAST_READS: Duration = Duration::from_secs(1);

/// Serves the page for a server at another address.
///
/// ```no_run
/// use sm_server::PageServer;
///
/// # async fn run() -> Result<(), sm_server::ServerError> {
/// let page = PageServer::bind("127.0.0.1:8501", "http://localhost:8000", None).await?;
/// println!("the page is at http://{}", page.address());
/// page.run(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PageServer {
    listener: Listener,
    settings: Arc<Settings>,
}

#[derive(Debug)]
struct Settings {
    api: Api,
    tabs: Option<PageTabs>,
}

impl PageServer {
    /// Listens on an address; port 0 picks a free one. `api_url` is that of the server as browsers reach it.
    ///
    /// # Errors
    /// [`ServerError::ApiUrl`], [`ServerError::Bind`].
    pub async fn bind(address: &str, api_url: &str, tabs: Option<PageTabs>) -> Result<Self, ServerError> {
        let api = Api::parse(api_url)?;
        let failed = |source| ServerError::Bind { address: address.to_owned(), source };
        let listener = Listener::tcp(address).await.map_err(failed)?;
        Ok(Self { listener, settings: Arc::new(Settings { api, tabs }) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Serves until `stop` is ready.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let settings = ConnectionSettings {
            max_connections: 1024,
            header_timeout: PATIENCE,
            write_timeout: PATIENCE,
            tls: None,
        };
        let router =
            Router::new().route("/", get(index)).route("/ui/{file}", get(file)).with_state(self.settings);
        let (stopped, is_stopped) = tokio::sync::oneshot::channel::<()>();
        let stop = async move {
            stop.await;
            // Nobody waits if serving has ended.
            let _ = stopped.send(());
        };
        let last = async move {
            let _ = is_stopped.await;
            tokio::time::sleep(LAST_READS).await;
        };
        serve(self.listener, router, settings, stop, last).await;
    }
}

async fn index(State(settings): State<Arc<Settings>>, headers: HeaderMap) -> Response {
    answer(&settings, INDEX, &headers)
}

async fn file(
    State(settings): State<Arc<Settings>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(&settings, &name, &headers)
}

fn answer(settings: &Settings, name: &str, headers: &HeaderMap) -> Response {
    let page = Page { tabs: settings.tabs.as_ref(), api: Some(&settings.api) };
    page.answer(name, headers)
        .unwrap_or_else(|| (StatusCode::NOT_FOUND, format!("the page has no file {name:?}")).into_response())
}

impl Api {
    /// Reads an address such as `http://localhost:8000` or `https://models.example/llm`.
    pub(super) fn parse(url: &str) -> Result<Self, ServerError> {
        let wrong = || ServerError::ApiUrl { url: url.to_owned() };
        let uri: Uri = url.trim().parse().map_err(|_| wrong())?;
        let is_http = [Scheme::HTTP, Scheme::HTTPS].iter().any(|known| uri.scheme() == Some(known));
        // A name, an address, and a port: what else an authority may hold would change the policy that it becomes a part of.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        match (uri.scheme_str(), uri.authority().map(axum::http::uri::Authority::as_str)) {
            (Some(scheme), Some(authority))
                if is_http && uri.query().is_none() && authority.chars().all(is_plain) =>
            {
                let origin = format!("{scheme}://{authority}");
                let url = format!("{origin}{}", uri.path().trim_end_matches('/'));
                Ok(Self { url, origin })
            }
            _ => Err(wrong()),
        }
    }
}
