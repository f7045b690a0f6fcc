//! Reads a body.

use serde_json::{Map, Value};
use sm_runtime::{ChatRequest, GenerationOptions, Message, Prompt, Request};

use super::Endpoint;
use crate::wire::fields::{self, SeenFields};
use crate::wire::{FieldError, options};

/// Fields that do not change the answer.
const WITHOUT_EFFECT: [&str; 11] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "include",
    "client_metadata",
    "context_management",
    "verbosity",
];

/// What a body asks for.
#[derive(Debug)]
pub struct Call {
    /// The request to the engine.
    pub request: Request,
    /// Whether the answer is a stream.
    pub is_stream: bool,
    /// Whether a stream ends with the usage.
    pub includes_usage: bool,
    /// The functions that the model may call. The template tells it of them.
    pub tools: Vec<Value>,
}

/// Reads a body. `defaults` apply to what it does not set.
///
/// # Errors
/// The first field that is wrong.
pub fn read(
    endpoint: Endpoint,
    body: &Map<String, Value>,
    defaults: GenerationOptions,
) -> Result<Call, FieldError> {
    let mut reader = Reader::new(endpoint, defaults);
    // Clients write what they do not set as null.
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        reader.set(name, value).map_err(|message| FieldError::new(name, message))?;
    }
    reader.finish()
}

/// A body being read.
struct Reader {
    endpoint: Endpoint,
    options: GenerationOptions,
    prompt: Option<Prompt>,
    chat: ChatRequest,
    has_messages: bool,
    n: usize,
    is_stream: bool,
    includes_usage: bool,
    tools: Vec<Value>,
    /// Whether the model may see the tools.
    shows_tools: bool,
    calls_in_parallel: bool,
    has_logprobs: bool,
    n_top: Option<usize>,
    best_of: Option<usize>,
    seen: SeenFields,
}

impl Reader {
    fn new(endpoint: Endpoint, options: GenerationOptions) -> Self {
        Self {
            endpoint,
            options,
            prompt: None,
            chat: ChatRequest::new(),
            has_messages: false,
            n: 1,
            is_stream: false,
            includes_usage: false,
            tools: Vec::new(),
            shows_tools: true,
            calls_in_parallel: true,
            has_logprobs: false,
            n_top: None,
            best_of: None,
            seen: SeenFields::default(),
        }
    }

    fn set(&mut self, given: &str, value: &Value) -> Result<(), String> {
        self.seen.note(given)?;
        let name = options::canonical(given);
        let own = match self.endpoint {
            Endpoint::ChatCompletions => self.set_of_chat(name, value),
            Endpoint::Completions => self.set_of_completion(name, value),
        };
        own.unwrap_or_else(|| self.set_of_both(name, value))
    }

    fn set_of_chat(&mut self, name: &str, value: &Value) -> Option<Result<(), String>> {
        Some(match name {
            "messages" => messages(value).map(|messages| {
                self.has_messages = true;
                self.change_chat(|chat| chat.messages(messages));
            }),
            "logprobs" => options::flag(value).map(|it| self.has_logprobs = it),
            "top_logprobs" => options::count(value).map(|it| self.n_top = Some(it)),
            "chat_template_kwargs" => fields::variables(value).map(|variables| {
                for (name, value) in variables {
                    self.change_chat(|chat| chat.variable(&name, value));
                }
            }),
            "reasoning_effort" => {
                options::text(value).map(|effort| self.change_chat(|chat| chat.variable(name, effort)))
            }
            "add_generation_prompt" => {
                options::flag(value).map(|it| self.change_chat(|chat| chat.add_generation_prompt(it)))
            }
            "continue_final_message" => {
                options::flag(value).map(|it| self.change_chat(|chat| chat.continue_final_message(it)))
            }
            "tools" => fields::objects(value).map(|it| self.tools = it),
            "tool_choice" if value == "none" || value == "auto" => {
                self.shows_tools = value == "auto";
                Ok(())
            }
            "tool_choice" => Err("only \"auto\" and \"none\" are possible".to_owned()),
            "parallel_tool_calls" => options::flag(value).map(|it| self.calls_in_parallel = it),
            "modalities" if *value == serde_json::json!(["text"]) => Ok(()),
            "modalities" => Err("only [\"text\"] is possible".to_owned()),
            "prompt" => Err("this endpoint takes messages; /v1/completions takes a prompt".to_owned()),
            _ => return None,
        })
    }

    fn change_chat(&mut self, change: impl FnOnce(ChatRequest) -> ChatRequest) {
        self.chat = change(std::mem::take(&mut self.chat));
    }

    fn set_of_completion(&mut self, name: &str, value: &Value) -> Option<Result<(), String>> {
        Some(match name {
            "prompt" => only_prompt(value).map(|it| self.prompt = Some(it)),
            "best_of" => options::count(value).map(|it| self.best_of = Some(it)),
            "suffix" => Err("completing the middle of a text is not supported; leave it out".to_owned()),
            "messages" => Err("this endpoint takes a prompt; /v1/chat/completions takes messages".to_owned()),
            _ => return None,
        })
    }

    fn set_of_both(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "model" => options::text(value).map(drop),
            "n" => options::count(value).map(|it| self.n = it),
            "stream" => options::flag(value).map(|it| self.is_stream = it),
            "stream_options" => {
                self.includes_usage = value.get("include_usage").map_or(Ok(false), options::flag)?;
                Ok(())
            }
            _ if WITHOUT_EFFECT.contains(&name) => Ok(()),
            _ => options::set(&mut self.options, name, value)
                .unwrap_or_else(|| Err("unknown field; correct its name, or leave it out".to_owned())),
        }
    }

    fn finish(mut self) -> Result<Call, FieldError> {
        match (self.has_logprobs, self.n_top) {
            (true, n_top) => self.options.logprobs = Some(n_top.unwrap_or(0)),
            (false, Some(n)) if n > 0 => {
                return Err(FieldError::new("top_logprobs", "only with \"logprobs\": true"));
            }
            (false, _) => {}
        }
        if self.n == 0 {
            return Err(FieldError::new("n", "must be a whole number of 1 or more, not 0"));
        }
        if self.best_of.is_some_and(|best_of| best_of != self.n) {
            return Err(FieldError::new("best_of", "must equal n; choices can be ranked by their logprobs"));
        }
        let tools = if self.shows_tools { self.tools } else { Vec::new() };
        if !tools.is_empty() && !self.calls_in_parallel {
            let message = "how many tools are called cannot be enforced; leave it out";
            return Err(FieldError::new("parallel_tool_calls", message));
        }
        let prompt = match (self.endpoint, self.prompt) {
            (Endpoint::ChatCompletions, _) if self.has_messages => {
                self.chat.tools(tools.iter().cloned()).into()
            }
            (Endpoint::ChatCompletions, _) => return Err(FieldError::new("messages", "missing")),
            (Endpoint::Completions, Some(prompt)) => prompt,
            (Endpoint::Completions, None) => return Err(FieldError::new("prompt", "missing")),
        };
        Ok(Call {
            request: Request::new(prompt, self.options).n(self.n),
            is_stream: self.is_stream,
            includes_usage: self.includes_usage,
            tools,
        })
    }
}

/// A prompt: a text, token ids, or a list of one of them.
fn only_prompt(value: &Value) -> Result<Prompt, String> {
    let value = match value.as_array().map(Vec::as_slice) {
        Some([only]) if only.is_string() || only.is_array() => only,
        Some([first, ..]) if first.is_string() || first.is_array() => {
            return Err("must be one prompt; send a request for each".to_owned());
        }
        _ => value,
    };
    fields::prompt(value)
}

/// Messages, of which those of a `developer` are of the system, as newer models call it.
fn messages(value: &Value) -> Result<Vec<Message>, String> {
    let mut list = value.as_array().cloned().ok_or_else(|| "must be a list of messages".to_owned())?;
    if list.is_empty() {
        return Err("must contain at least one message".to_owned());
    }
    for message in &mut list {
        if let Some(role) = message.get_mut("role").filter(|role| *role == "developer") {
            *role = "system".into();
        }
    }
    Message::list_from_json(list).map_err(|error| error.to_string())
}
