//! The tabs of the page and their example problems, which come from one JSON file.

use std::collections::HashSet;

use serde::Deserialize;

use crate::ServerError;

/// The tabs of the page. Without others, it has those of `ui/public/ui/tabs.json`, which the server serves as `/ui/tabs.json`.
///
/// ```
/// use sm_server::PageTabs;
///
/// let tabs = PageTabs::parse(
///     r#"{"tabs": [
///         {"id": "chat", "title": "Chat", "kind": "chat", "examples": ["Tell me a story."]},
///         {"id": "haiku", "title": "Haiku", "kind": "prompt", "system": "Answer with a haiku.", "examples": ["Rain"]}
///     ]}"#,
/// );
/// assert!(tabs.is_ok());
/// ```
#[derive(Clone, Debug)]
pub struct PageTabs(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    tabs: Vec<Tab>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the page reads the fields; here they are only checked")]
struct Tab {
    id: String,
    title: String,
    kind: Kind,
    #[serde(default)]
    about: String,
    #[serde(default)]
    placeholder: String,
    system: Option<String>,
    temperature: Option<f64>,
    max_tokens: Option<u64>,
    #[serde(default)]
    examples: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Conversations.
    Chat,
    /// Problems for `/solve/math`.
    Math,
    /// Problems for `/solve/coding`.
    Coding,
    /// Texts that are answered as the tab's `system` says.
    Prompt,
}

impl PageTabs {
    /// Reads the JSON text of tabs.
    ///
    /// # Errors
    /// [`ServerError::Tabs`].
    pub fn parse(text: &str) -> Result<Self, ServerError> {
        let wrong = |message: String| ServerError::Tabs { message };
        let document: Document = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut ids = HashSet::new();
        for Tab { id, kind, system, .. } in &document.tabs {
            // Ids are parts of addresses.
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if id.is_empty() || !id.chars().all(is_plain) {
                return Err(wrong(format!("the id {id:?} must consist of a to z, 0 to 9 and -")));
            }
            if !ids.insert(id) {
                return Err(wrong(format!("two tabs have the id {id:?}; give each its own")));
            }
            if (*kind == Kind::Prompt) != system.is_some() {
                return Err(wrong(format!(
                    "tab {id:?}: a tab has `system` if its kind is \"prompt\", and only then"
                )));
            }
        }
        if document.tabs.is_empty() {
            return Err(wrong("there are none; list at least one".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}
