//! Bodies of `/tokenize`, `/detokenize` and `/apply-template`, as llama.cpp and vLLM have them.

use serde_json::{Map, Value};
use sm_runtime::{ChatRequest, Message, TokenId};

use crate::wire::{FieldError, fields, options};

/// What is to be tokenized.
#[derive(Clone, Debug)]
pub enum Input {
    /// A text.
    Text(String),
    /// Messages, by the chat template.
    Chat(ChatRequest),
}

/// A body of `/tokenize`.
#[derive(Clone, Debug)]
pub struct TokenizeCall {
    /// The model, if it names one.
    pub model: Option<String>,
    /// What is to be tokenized.
    pub input: Input,
    /// Whether the tokenizer adds its marks to a text. llama.cpp does not unless asked to, vLLM does.
    pub adds_special: bool,
    /// Whether special tokens are recognized in a text.
    pub parses_special: bool,
    /// Whether tokens come with their texts.
    pub has_pieces: bool,
    /// Whether there is a list of texts.
    pub has_strings: bool,
}

impl TokenizeCall {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn read(body: &Map<String, Value>) -> Result<Self, FieldError> {
        let mut text = None;
        let mut is_llamacpp = false;
        let mut adds_special = None;
        let mut call = Self {
            model: None,
            input: Input::Text(String::new()),
            adds_special: false,
            parses_special: true,
            has_pieces: false,
            has_strings: false,
        };
        let mut chat = ChatFields::default();
        each(body, |name, value| match name {
            "content" => {
                is_llamacpp = true;
                options::text(value).map(|it| text = Some(it))
            }
            "prompt" | "text" => options::text(value).map(|it| text = Some(it)),
            "model" => options::text(value).map(|it| call.model = Some(it)),
            "add_special" | "add_special_tokens" => options::flag(value).map(|it| adds_special = Some(it)),
            "parse_special" => options::flag(value).map(|it| call.parses_special = it),
            "with_pieces" => options::flag(value).map(|it| call.has_pieces = it),
            "return_token_strs" => options::flag(value).map(|it| call.has_strings = it),
            _ => chat.set(name, value),
        })?;
        call.adds_special = adds_special.unwrap_or(!is_llamacpp);
        call.input = match (text, chat.messages.is_some()) {
            (Some(text), false) => Input::Text(text),
            (None, true) => Input::Chat(chat.finish()?),
            (Some(_), true) => return Err(FieldError::new("messages", "a text is given too; leave one out")),
            (None, false) => return Err(FieldError::new("content", "missing")),
        };
        Ok(call)
    }
}

/// A body of `/detokenize`.
#[derive(Clone, Debug)]
pub struct DetokenizeCall {
    /// The model, if it names one.
    pub model: Option<String>,
    /// The tokens.
    pub tokens: Vec<TokenId>,
    /// Whether special tokens are left out.
    pub skips_special: bool,
}

impl DetokenizeCall {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn read(body: &Map<String, Value>) -> Result<Self, FieldError> {
        let mut call = Self { model: None, tokens: Vec::new(), skips_special: false };
        each(body, |name, value| match name {
            "model" => options::text(value).map(|it| call.model = Some(it)),
            "tokens" => options::tokens(value).map(|it| call.tokens = it),
            "skip_special_tokens" => options::flag(value).map(|it| call.skips_special = it),
            _ => Err(unknown()),
        })?;
        if body.get("tokens").is_none_or(Value::is_null) {
            return Err(FieldError::new("tokens", "missing"));
        }
        Ok(call)
    }
}

/// A body of `/apply-template`.
#[derive(Clone, Debug)]
pub struct ChatCall {
    /// The model, if it names one.
    pub model: Option<String>,
    /// The messages, and what else the template sees.
    pub chat: ChatRequest,
}

impl ChatCall {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn read(body: &Map<String, Value>) -> Result<Self, FieldError> {
        let mut model = None;
        let mut chat = ChatFields::default();
        each(body, |name, value| match name {
            "model" => options::text(value).map(|it| model = Some(it)),
            _ => chat.set(name, value),
        })?;
        Ok(Self { model, chat: chat.finish()? })
    }
}

/// The fields of a chat that its template sees.
#[derive(Debug, Default)]
struct ChatFields {
    messages: Option<Vec<Message>>,
    tools: Vec<Value>,
    documents: Vec<Value>,
    variables: Map<String, Value>,
    adds_prompt: Option<bool>,
    continues: bool,
}

impl ChatFields {
    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "messages" => messages(value).map(|it| self.messages = Some(it)),
            "tools" => fields::objects(value).map(|it| self.tools = it),
            "documents" => fields::objects(value).map(|it| self.documents = it),
            "chat_template_kwargs" => fields::variables(value).map(|it| self.variables.extend(it)),
            "reasoning_effort" => {
                options::text(value).map(|it| _ = self.variables.insert(name.to_owned(), it.into()))
            }
            "add_generation_prompt" => options::flag(value).map(|it| self.adds_prompt = Some(it)),
            "continue_final_message" => options::flag(value).map(|it| self.continues = it),
            _ => Err(unknown()),
        }
    }

    fn finish(self) -> Result<ChatRequest, FieldError> {
        let messages = self.messages.ok_or_else(|| FieldError::new("messages", "missing"))?;
        if self.continues && self.adds_prompt == Some(true) {
            let message = "excludes add_generation_prompt: a message is continued or begun";
            return Err(FieldError::new("continue_final_message", message));
        }
        let mut chat = ChatRequest::new()
            .messages(messages)
            .tools(self.tools)
            .documents(self.documents)
            .add_generation_prompt(self.adds_prompt.unwrap_or(true))
            .continue_final_message(self.continues);
        for (name, value) in self.variables {
            chat = chat.variable(&name, value);
        }
        Ok(chat)
    }
}

/// Messages, of which those of a `developer` are of the system, as newer models call it.
fn messages(value: &Value) -> Result<Vec<Message>, String> {
    let mut list = value.as_array().cloned().ok_or_else(|| "must be a list of messages".to_owned())?;
    for message in &mut list {
        if let Some(role) = message.get_mut("role").filter(|role| *role == "developer") {
            *role = "system".into();
        }
    }
    Message::list_from_json(list).map_err(|error| error.to_string())
}

/// Sets each field that is not null.
fn each(
    body: &Map<String, Value>,
    mut set: impl FnMut(&str, &Value) -> Result<(), String>,
) -> Result<(), FieldError> {
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        set(name, value).map_err(|message| FieldError::new(name, message))?;
    }
    Ok(())
}

fn unknown() -> String {
    "unknown field; correct its name, or leave it out".to_owned()
}
