//! Builds a request from the fields of a line.

use serde_json::Value;
use sm_runtime::{ChatRequest, GenerationOptions, Message, Prompt, Request};
use sm_server::wire::fields::{self, SeenFields};
use sm_server::wire::options;

/// A request being built from fields.
#[derive(Debug)]
pub(super) struct RequestBuilder {
    options: GenerationOptions,
    prompt: Option<Prompt>,
    messages: Option<Vec<Message>>,
    /// Functions that the model may call.
    tools: Vec<Value>,
    /// Variables of the chat template.
    variables: Vec<(String, Value)>,
    n: usize,
    seen: SeenFields,
}

impl RequestBuilder {
    pub(super) fn new(options: GenerationOptions) -> Self {
        Self {
            options,
            prompt: None,
            messages: None,
            tools: Vec::new(),
            variables: Vec::new(),
            n: 1,
            seen: SeenFields::default(),
        }
    }

    /// Refuses a field that was given before, by this name or another, or that excludes one that was.
    pub(super) fn note(&mut self, given: &str) -> Result<(), String> {
        self.seen.note(given)
    }

    /// Sets a field.
    pub(super) fn set(&mut self, given: &str, value: &Value) -> Result<(), String> {
        self.note(given)?;
        let name = options::canonical(given);
        match name {
            "prompt" => self.prompt = Some(fields::prompt(value)?),
            "messages" => self.messages = Some(messages(value)?),
            "tools" => self.tools = fields::objects(value)?,
            "chat_template_kwargs" => {
                self.variables.extend(fields::variables(value)?);
            }
            "n" => self.n = n_choices(value)?,
            _ => {
                return options::set(&mut self.options, name, value)
                    .unwrap_or_else(|| Err("unknown field; see sm batch --help".to_owned()));
            }
        }
        Ok(())
    }

    /// The request.
    ///
    /// # Errors
    /// If the prompt is missing, given twice, or an option is invalid.
    pub(super) fn build(self) -> Result<Request, String> {
        let has_chat_fields = !self.tools.is_empty() || !self.variables.is_empty();
        let prompt = match (self.prompt, self.messages) {
            (Some(_), Some(_)) => {
                return Err("messages: prompt and messages are both given; leave one out".to_owned());
            }
            (Some(_), None) if has_chat_fields => {
                return Err("tools and chat_template_kwargs are for messages, not for a prompt".to_owned());
            }
            (Some(prompt), None) => prompt,
            (None, Some(messages)) => {
                let chat = ChatRequest::new().messages(messages).tools(self.tools);
                self.variables
                    .into_iter()
                    .fold(chat, |chat, (name, value)| chat.variable(&name, value))
                    .into()
            }
            (None, None) => return Err("neither prompt nor messages are given".to_owned()),
        };
        self.options.validate().map_err(|error| error.to_string())?;
        Ok(Request::new(prompt, self.options).n(self.n))
    }
}

fn messages(value: &Value) -> Result<Vec<Message>, String> {
    let list = value.as_array().ok_or_else(|| format!("must be a list of messages, not {value}"))?;
    let messages = Message::list_from_json(list.clone()).map_err(|error| error.to_string())?;
    if messages.is_empty() { Err("the list is empty".to_owned()) } else { Ok(messages) }
}

fn n_choices(value: &Value) -> Result<usize, String> {
    let n = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    n.ok_or_else(|| format!("must be a whole number of 1 or more, not {value}"))
}
