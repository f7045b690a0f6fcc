//! The page: `GET /`, and the files that it consists of at `/ui/`.
//!
//! `cargo xtask ui` builds them from the sources in `ui/` into `ui/dist/`, which is committed and embedded, so that building the
//! server needs no Node. All names are fixed and every file is revalidated by its `ETag`: a page of one version never runs with a
//! script of another, as it would with names that are cached for a year.

mod files;
mod server;

use std::borrow::Cow;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::error::ApiError;
use crate::page_tabs::PageTabs;
use files::File;
pub use server::PageServer;

/// The page itself.
const INDEX: &str = "index.html";

/// The endpoints.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(index)).route("/ui/{file}", get(file))
}

/// The page.
///
/// # Errors
/// If the server has none.
async fn index(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    of_app(&app, INDEX, &headers)
}

/// A file of the page.
///
/// # Errors
/// If there is none of that name, or the server has no page.
async fn file(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    of_app(&app, &name, &headers)
}

fn of_app(app: &App, name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    if !app.config().shows_page {
        let message = "this server has no page; start it without --no-ui";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message));
    }
    let page = Page { tabs: app.config().page_tabs.as_ref(), api: None };
    page.answer(name, headers)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("the page has no file {name:?}")))
}

/// What differs between one server's page and another's.
#[derive(Clone, Copy, Debug)]
struct Page<'a> {
    /// Other tabs than the built-in ones.
    tabs: Option<&'a PageTabs>,
    /// The server that the page talks to, if it is another than the one it comes from.
    api: Option<&'a Api>,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Api {
    /// Without a slash at its end.
    url: String,
    /// Its scheme and authority.
    origin: String,
}

/// A file, ready to be sent.
struct Content {
    kind: &'static str,
    is_compressed: bool,
    bytes: Cow<'static, [u8]>,
    tag: String,
}

impl Content {
    fn made(kind: &'static str, text: String) -> Self {
        let tag = tag(text.as_bytes());
        Self { kind, is_compressed: false, bytes: text.into_bytes().into(), tag }
    }
}

impl Page<'_> {
    /// The response with a file; `None` if there is none of that name.
    fn answer(&self, name: &str, headers: &HeaderMap) -> Option<Response> {
        let content = self.content(name)?;
        let mut response = if is_current(headers, &content.tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if content.is_compressed && !takes_gzip(headers) {
            // Every browser takes it. Without it, there would be a second copy of each file, or a decoder.
            let message = "this file is compressed; send Accept-Encoding: gzip";
            (StatusCode::NOT_ACCEPTABLE, message).into_response()
        } else {
            let mut response = content.bytes.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content.kind));
            if content.is_compressed {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        };
        self.add_headers(&content.tag, response.headers_mut());
        Some(response)
    }

    fn content(&self, name: &str) -> Option<Content> {
        match (name, self.tabs) {
            ("config.json", _) => {
                let api_url = self.api.map(|api| &api.url);
                let config = json!({"api_url": api_url, "version": env!("CARGO_PKG_VERSION")});
                Some(Content::made("application/json", config.to_string()))
            }
            ("tabs.json", Some(tabs)) => Some(Content::made("application/json", tabs.text().to_owned())),
            _ => File::of_name(name).map(File::content),
        }
    }

    fn add_headers(&self, tag: &str, headers: &mut HeaderMap) {
        let values = [
            (header::ETAG, tag.to_owned()),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
            (header::VARY, "accept-encoding".to_owned()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::REFERRER_POLICY, "no-referrer".to_owned()),
            (header::CONTENT_SECURITY_POLICY, self.policy()),
        ];
        for (name, value) in values {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }

    /// What the page may do: run its own script, and ask the server. Answers are foreign text; whatever markup in them might get past
    /// the sanitizer finds nothing to run, load or send.
    fn policy(&self) -> String {
        let other = self.api.map(|api| format!(" {}", api.origin)).unwrap_or_default();
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'{other}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types dompurify"
        )
    }
}

/// The `ETag` of some bytes.
fn tag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether the client has the file with this tag already.
fn is_current(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|given| {
        let given = given.trim();
        given == "*" || given.trim_start_matches("W/") == tag
    })
}

/// Whether a client takes gzip. One that says nothing takes anything, by RFC 9110.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::ACCEPT_ENCODING).iter().peekable();
    if given.peek().is_none() {
        return true;
    }
    given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip =
            parts.next().is_some_and(|name| ["gzip", "x-gzip", "*"].contains(&&*name.to_ascii_lowercase()));
        is_gzip && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

#[cfg(test)]
mod tests;
