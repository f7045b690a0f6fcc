//! The input of a chat template: messages, tools and options.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ChatError;

/// A message of a conversation: `role`, `content` (a string, a list of text parts, or null in a message that only calls tools), and
/// any field that the template knows, such as `tool_calls`. Fields keep their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Message(pub(super) Map<String, Value>);

impl Message {
    /// A message with a role (`system`, `user`, `assistant`, `tool`) and text.
    pub fn new(role: &str, content: &str) -> Self {
        Self(Map::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content.into())]))
    }

    /// A message as JSON.
    ///
    /// # Errors
    /// [`ChatError::BadMessage`] with index 0 unless it is an object with a string `role`.
    pub fn from_json(json: Value) -> Result<Self, ChatError> {
        match json {
            Value::Object(fields) if fields.get("role").is_some_and(Value::is_string) => Ok(Self(fields)),
            _ => Err(ChatError::BadMessage { idx: 0 }),
        }
    }

    /// Messages from a JSON list.
    ///
    /// # Errors
    /// [`ChatError::BadMessage`] with the index of the first malformed one.
    pub fn list_from_json(list: Vec<Value>) -> Result<Vec<Self>, ChatError> {
        let message = |(idx, json)| Self::from_json(json).map_err(|_| ChatError::BadMessage { idx });
        list.into_iter().enumerate().map(message).collect()
    }

    /// The role; empty if the message has none.
    pub fn role(&self) -> &str {
        self.0.get("role").and_then(Value::as_str).unwrap_or_default()
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// A conversation to render.
#[derive(Clone, Debug)]
pub struct ChatRequest<'a> {
    /// The conversation so far.
    pub messages: &'a [Message],
    /// Functions that the model may call, as JSON schemas.
    pub tools: &'a [Value],
    /// Documents to answer from, for templates that support them.
    pub documents: &'a [Value],
    /// Whether the prompt ends with the start of an assistant message.
    pub add_generation_prompt: bool,
    /// Additional template variables, such as `enable_thinking`. They override all others.
    pub variables: Map<String, Value>,
    /// The current time for `strftime_now`, in seconds since 1970-01-01 UTC.
    pub now_unix_seconds: i64,
}

impl<'a> ChatRequest<'a> {
    /// A request for an answer to `messages`, without tools, at the current time.
    pub fn new(messages: &'a [Message]) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            messages,
            tools: &[],
            documents: &[],
            add_generation_prompt: true,
            variables: Map::new(),
            now_unix_seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
        }
    }
}
