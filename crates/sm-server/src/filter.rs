//! Refuses requests with content that the operator does not want.

use std::fmt;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use axum::http::StatusCode;
use serde_json::Value;

use crate::ServerError;
use crate::error::ApiError;

/// Decides which texts are served. Every text of a body is shown to it, one at a time.
pub trait ContentFilter: fmt::Debug + Send + Sync {
    /// Whether a text may be in a request.
    fn allows(&self, text: &str) -> bool;
}

/// Refuses texts that contain one of some terms, in capital or small letters, also as a part of a word.
///
/// ```
/// use sm_server::{ContentFilter, TermFilter};
///
/// let filter = TermFilter::new("# one term per line\nforbidden fruit\n")?;
/// assert!(filter.allows("an apple") && !filter.allows("The Forbidden Fruit!"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TermFilter(AhoCorasick);

impl TermFilter {
    /// A filter of one term per line. Blank lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// [`ServerError::Filter`] if there are more terms than a search can hold.
    pub fn new(lines: &str) -> Result<Self, ServerError> {
        let terms = lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let search = AhoCorasick::new(terms.map(str::to_lowercase));
        search.map(Self).map_err(|error| ServerError::Filter { message: error.to_string() })
    }
}

impl ContentFilter for TermFilter {
    fn allows(&self, text: &str) -> bool {
        !self.0.is_match(&text.to_lowercase())
    }
}

/// Checks all texts of a body. One that is no JSON is left to its handler, which refuses it.
///
/// # Errors
/// If one is not allowed.
pub(crate) fn check(filter: &Arc<dyn ContentFilter>, body: &[u8]) -> Result<(), ApiError> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
    match allows(&**filter, &body) {
        true => Ok(()),
        // In the words of the original documents, whose clients compare them.
        false => Err(ApiError::new(StatusCode::BAD_REQUEST, "Prohibited content in request")),
    }
}

fn allows(filter: &dyn ContentFilter, value: &Value) -> bool {
    match value {
        Value::String(text) => filter.allows(text),
        Value::Array(values) => values.iter().all(|value| allows(filter, value)),
        Value::Object(fields) => fields.values().all(|value| allows(filter, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_found_in_all_texts_of_a_body_and_in_any_case() {
        let filter: Arc<dyn ContentFilter> = Arc::new(TermFilter::new("# comment\n\nBöse Worte\n").unwrap());
        for (body, is_allowed) in [
            (r#"{"prompt": "gute Worte"}"#, true),
            (r#"{"prompt": "BÖSE WORTE"}"#, false),
            (r#"{"prompt": "b\u00f6se worte"}"#, false),
            (r#"{"messages": [{"content": [{"type": "text", "text": "so böse worte!"}]}]}"#, false),
            (r#"{"prompt": "comment"}"#, true),
            ("böse worte", true),
        ] {
            assert_eq!(check(&filter, body.as_bytes()).is_ok(), is_allowed, "{body}");
        }
    }

    #[test]
    fn no_terms_forbid_nothing() {
        assert!(TermFilter::new("").unwrap().allows("anything"));
    }
}
