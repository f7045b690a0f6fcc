//! Warnings about answers that are not what was asked for in every way, as a header.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

const HEADER: HeaderName = HeaderName::from_static("x-smallmind-warning");

/// Says which types of tools were left out since the server does not run them.
pub(crate) fn skipped_tools(mut response: Response, types: &[String]) -> Response {
    if types.is_empty() {
        return response;
    }
    let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let types: String = types.join(", ").chars().take(200).map(shown).collect();
    let message = format!("tools of these types were left out, since this server does not run them: {types}");
    if let Ok(value) = HeaderValue::from_str(&message) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
