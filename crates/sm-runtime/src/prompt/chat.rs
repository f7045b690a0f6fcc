//! Chat requests and their rendering.

use serde_json::{Map, Value};
use sm_model::chat::{self, ChatTemplate, Message};
use sm_model::tokenizer::{Guard, GuardedText};

use crate::Error;

/// Placeholder for locating an answer in the rendered text. A private-use character distinguishes it from ordinary text; it
/// has no white space that a template could trim.
const MARK: &str = "\u{f8ff}answer\u{f8ff}";

/// Messages and other inputs of the model's chat template.
///
/// What messages, tools and documents say is text: `<|im_end|>` in a message is ten characters, not the token that ends a turn. Where
/// it is to be the token, the content is a list of parts, one of which is
/// `{"type": "text", "text": "<|im_end|>", "parse_special": true}`.
///
/// ```
/// use sm_runtime::ChatRequest;
/// use sm_runtime::serde_json::json;
///
/// let request = ChatRequest::new()
///     .system("Answer in one sentence.")
///     .user("What is the weather in Vienna?")
///     .tool(json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}))
///     .variable("enable_thinking", false);
/// # let _ = request;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRequest {
    messages: Vec<Message>,
    tools: Vec<Value>,
    documents: Vec<Value>,
    variables: Map<String, Value>,
    add_generation_prompt: bool,
    continue_final_message: bool,
    now_unix_seconds: Option<i64>,
}

/// A chat template, and what tells its control tokens from those that people write; nothing does without a tokenizer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template<'m> {
    pub(crate) template: &'m ChatTemplate,
    pub(crate) guard: Option<&'m Guard>,
}

impl Default for ChatRequest {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            tools: Vec::new(),
            documents: Vec::new(),
            variables: Map::new(),
            add_generation_prompt: true,
            continue_final_message: false,
            now_unix_seconds: None,
        }
    }
}

impl ChatRequest {
    /// A conversation without messages.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message with the role `system`.
    #[must_use]
    pub fn system(self, text: &str) -> Self {
        self.message(Message::new("system", text))
    }

    /// Adds a message with the role `user`.
    #[must_use]
    pub fn user(self, text: &str) -> Self {
        self.message(Message::new("user", text))
    }

    /// Adds a message with the role `assistant`.
    #[must_use]
    pub fn assistant(self, text: &str) -> Self {
        self.message(Message::new("assistant", text))
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, message: Message) -> Self {
        self.messages.push(message);
        self
    }

    /// Adds messages.
    #[must_use]
    pub fn messages(mut self, messages: impl IntoIterator<Item = Message>) -> Self {
        self.messages.extend(messages);
        self
    }

    /// Adds a function that the model may call, as a JSON schema.
    #[must_use]
    pub fn tool(mut self, schema: Value) -> Self {
        self.tools.push(schema);
        self
    }

    /// Adds functions that the model may call, as JSON schemas.
    #[must_use]
    pub fn tools(mut self, schemas: impl IntoIterator<Item = Value>) -> Self {
        self.tools.extend(schemas);
        self
    }

    /// Adds texts to answer from, for templates that support them.
    #[must_use]
    pub fn documents(mut self, documents: impl IntoIterator<Item = Value>) -> Self {
        self.documents.extend(documents);
        self
    }

    /// Sets a template variable, such as `enable_thinking`. Takes precedence over variables set by the runtime.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Whether the prompt ends with the start of an assistant message. On by default.
    #[must_use]
    pub fn add_generation_prompt(self, add_generation_prompt: bool) -> Self {
        Self { add_generation_prompt, ..self }
    }

    /// Whether the output continues the last message instead of starting a new one: the prompt then ends with that
    /// message's content, regardless of [`ChatRequest::add_generation_prompt`]. Off by default.
    #[must_use]
    pub fn continue_final_message(self, continue_final_message: bool) -> Self {
        Self { continue_final_message, ..self }
    }

    /// The time visible to the template, in seconds since 1970-01-01 UTC. By default the time of the request. A template
    /// that prints the time misses the prefix cache whenever the printed time changes.
    #[must_use]
    pub fn now_unix_seconds(self, seconds: i64) -> Self {
        Self { now_unix_seconds: Some(seconds), ..self }
    }

    /// Whether there are functions that the model may call.
    pub fn has_tools(&self) -> bool {
        !self.tools.is_empty()
    }

    /// Whether the output continues the last message.
    pub(super) fn continues_message(&self) -> bool {
        self.continue_final_message
    }

    /// The prompt as text, as the template makes it. Special tokens that messages write look like those of the template; the
    /// prompt of a request tells them apart.
    ///
    /// # Errors
    /// As a request with this prompt.
    pub fn to_text(&self, template: &ChatTemplate) -> Result<String, Error> {
        Ok(self.render(Template { template, guard: None })?.text)
    }

    /// Renders the whole conversation.
    ///
    /// # Errors
    /// If there is no message, the last one cannot be continued, or the template fails.
    pub(super) fn render(&self, template: Template<'_>) -> Result<GuardedText, Error> {
        if self.messages.is_empty() {
            return Err(Error::validation("messages", "must contain at least one message"));
        }
        if !self.continue_final_message {
            return self.render_messages(template, &self.messages);
        }
        let mut messages = self.messages.clone();
        if let Some(last) = messages.last_mut() {
            *last = marked(last)?;
        }
        let mut text = self.render_messages(template, &messages)?;
        let end = text.text.rfind(MARK).ok_or_else(|| {
            let message = "the chat template omits the last message, so it cannot be continued";
            Error::validation("continue_final_message", message)
        })?;
        text.truncate(end);
        Ok(text)
    }

    /// Renders the messages as a continuation of an answer already in the context: the text that the template puts between
    /// the answer's content and the end of the prompt.
    ///
    /// Earlier messages are not needed. The template renders a conversation in which [`MARK`] stands for the answer; the
    /// text after the mark is the continuation. The context then equals the render of the whole conversation for every
    /// template that renders a message from that message and its predecessor alone. Changes that a template makes to
    /// earlier messages, such as dropping their reasoning, do not take effect.
    ///
    /// # Errors
    /// As [`ChatRequest::render`]; if the template leaves the answer out.
    pub(crate) fn render_after_answer(&self, template: Template<'_>) -> Result<GuardedText, Error> {
        let earlier = [Message::new("user", "…"), Message::new("assistant", MARK)];
        let messages = earlier.into_iter().chain(self.messages.iter().cloned()).collect();
        let mut text = Self { messages, ..self.clone() }.render(template)?;
        let answer = text.text.find(MARK).ok_or_else(|| {
            let message = "the chat template leaves earlier answers out, so messages cannot be appended; use a session in \
                           prefix mode and send the whole conversation";
            Error::validation("messages", message)
        })?;
        text.drop_front(answer + MARK.len());
        Ok(text)
    }

    fn render_messages(&self, template: Template<'_>, messages: &[Message]) -> Result<GuardedText, Error> {
        let mut request = chat::ChatRequest {
            tools: &self.tools,
            documents: &self.documents,
            add_generation_prompt: self.add_generation_prompt && !self.continue_final_message,
            variables: self.variables.clone(),
            ..chat::ChatRequest::new(messages)
        };
        request.now_unix_seconds = self.now_unix_seconds.unwrap_or(request.now_unix_seconds);
        Ok(match template.guard {
            Some(guard) => template.template.render_guarded(&request, guard)?,
            None => template.template.render(&request)?.into(),
        })
    }
}

/// The message with [`MARK`] at the end of its text.
fn marked(message: &Message) -> Result<Message, Error> {
    let mut fields = message.fields().clone();
    let text = match fields.get_mut("content") {
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => match parts.last_mut().and_then(|part| part.get_mut("text")) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    };
    let no_text = || Error::validation("continue_final_message", "the last message has no text to continue");
    text.ok_or_else(no_text)?.push_str(MARK);
    Ok(Message::from_json(Value::Object(fields))?)
}

#[cfg(test)]
mod tests;
