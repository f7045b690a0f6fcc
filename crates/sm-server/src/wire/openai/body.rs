//! Reads a body.

mod chat;
mod completion;
mod prepare;

use serde_json::{Map, Value};
use sm_runtime::{ChatRequest, GenerationOptions, Message, Priority, Prompt, Request, Select};

use super::{Endpoint, Extras};
use crate::chat::{ReasoningFormat, ToolUse};
use crate::wire::fields::SeenFields;
use crate::wire::{FieldError, options};

/// Fields that do not change the answer.
pub(super) const WITHOUT_EFFECT: [&str; 17] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "include",
    "client_metadata",
    "context_management",
    "verbosity",
    "request_id",
    "cache_control",
    "prediction",
    // Slots of llama.cpp.
    "id_slot",
    "n_cache_reuse",
];

/// Fields of which one value changes nothing, and others are not supported.
const ONLY: [(&str, Value, &str); 11] = [
    ("use_beam_search", Value::Bool(false), "beam search is not supported; use n or best_of"),
    ("spaces_between_special_tokens", Value::Bool(true), "special tokens are always apart"),
    ("detokenize", Value::Bool(true), "answers are always text; return_token_ids adds the ids"),
    ("include_continuous_usage", Value::Bool(false), "use stream_options.continuous_usage_stats"),
    ("return_tokens_as_token_ids", Value::Bool(false), "use return_token_ids"),
    ("logprobs_mode", Value::Null, "log-probabilities are those of the model, before any filter"),
    // SGLang's, which vllm-router adds to what it passes on.
    ("no_stop_trim", Value::Bool(false), "use include_stop_str_in_output"),
    ("separate_reasoning", Value::Bool(true), "include_reasoning: false leaves thoughts out"),
    ("stream_reasoning", Value::Bool(true), "thoughts are streamed as they come"),
    ("return_hidden_states", Value::Bool(false), "use /v1/embeddings"),
    ("chat_template", Value::Null, "a template is chosen when the server starts, with --chat-template"),
];

/// What a body asks for.
#[derive(Debug)]
pub struct Call {
    /// The request to the engine, with the first prompt.
    pub request: Request,
    /// The prompts after the first, of which each is a request of its own.
    pub other_prompts: Vec<Prompt>,
    /// Whether the answer is a stream.
    pub is_stream: bool,
    /// What the answer contains.
    pub extras: Extras,
    /// What was left out of the request, and why.
    pub warnings: Vec<String>,
    /// The messages and tools of a chat.
    chat: Option<Chat>,
}

/// A chat as the body has it, which templates may need in another form.
#[derive(Clone, Debug, Default)]
struct Chat {
    messages: Vec<Message>,
    tools: Vec<Value>,
    tool_use: ToolUse,
    reasoning: ReasoningFormat,
    /// All but messages and tools.
    settings: ChatRequest,
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
    let is_set = |name: &str| body.get(name).and_then(Value::as_bool) == Some(true);
    if is_set("continue_final_message") && is_set("add_generation_prompt") {
        let message = "excludes add_generation_prompt: a message is continued or begun";
        return Err(FieldError::new("continue_final_message", message));
    }
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
    prompts: Vec<Prompt>,
    chat: Chat,
    has_messages: bool,
    n: usize,
    best_of: Option<usize>,
    priority: Priority,
    salt: String,
    is_stream: bool,
    has_logprobs: bool,
    n_top: Option<usize>,
    extras: Extras,
    warnings: Vec<String>,
    seen: SeenFields,
}

impl Reader {
    fn new(endpoint: Endpoint, options: GenerationOptions) -> Self {
        Self {
            endpoint,
            options,
            prompts: Vec::new(),
            chat: Chat::default(),
            has_messages: false,
            n: 1,
            best_of: None,
            priority: Priority::Normal,
            salt: String::new(),
            is_stream: false,
            has_logprobs: false,
            n_top: None,
            extras: Extras::default(),
            warnings: Vec::new(),
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

    fn set_of_both(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "model" => options::text(value).map(drop),
            "n" => options::count(value).map(|it| self.n = it),
            "stream" => options::flag(value).map(|it| self.is_stream = it),
            "stream_options" => self.set_stream_options(value),
            "priority" => priority(value).map(|it| self.priority = it),
            "cache_salt" => options::text(value).map(|it| self.salt = it),
            "return_token_ids" => options::flag(value).map(|it| self.extras.has_token_ids = it),
            "timings_per_token" => options::flag(value).map(|it| self.extras.has_timings = it),
            "return_progress" => options::flag(value).map(|it| self.extras.reports_progress = it),
            "verbose" => options::flag(value).map(|it| self.extras.is_verbose = it),
            _ if WITHOUT_EFFECT.contains(&name) => Ok(()),
            _ if ONLY.iter().any(|(only, ..)| *only == name) => only(name, value),
            _ => options::set(&mut self.options, name, value)
                .unwrap_or_else(|| Err("unknown field; correct its name, or leave it out".to_owned())),
        }
    }

    fn set_stream_options(&mut self, value: &Value) -> Result<(), String> {
        let Some(given) = value.as_object() else { return Err("must be an object".to_owned()) };
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            let set = match name.as_str() {
                "include_usage" => &mut self.extras.includes_usage,
                "continuous_usage_stats" => &mut self.extras.has_running_usage,
                // Noise of random length, against reading the sizes of encrypted packets.
                "include_obfuscation" if *value == false => continue,
                _ => return Err(format!("{name} is unknown; leave it out")),
            };
            *set = options::flag(value).map_err(|message| format!("{name} {message}"))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Call, FieldError> {
        self.finish_logprobs()?;
        let select = self.finish_choices()?;
        self.extras.has_prompt_logprobs = self.options.prompt_logprobs.is_some();
        let (prompt, chat) = match self.endpoint {
            Endpoint::ChatCompletions => {
                let chat = self.finish_chat()?;
                (chat.request(&chat.messages, &chat.tools).into(), Some(chat))
            }
            Endpoint::Completions => (self.finish_prompt()?, None),
        };
        let mut request = Request::new(prompt, self.options).n(self.n).select(select);
        request = request.priority(self.priority).salt(self.salt);
        request.reports_prefill = self.extras.has_timings || self.extras.reports_progress;
        let Self { is_stream, extras, warnings, prompts: other_prompts, .. } = self;
        Ok(Call { request, other_prompts, is_stream, extras, warnings, chat })
    }

    fn finish_logprobs(&mut self) -> Result<(), FieldError> {
        match (self.has_logprobs, self.n_top) {
            (true, n_top) => self.options.logprobs = Some(n_top.unwrap_or(0)),
            (false, Some(n)) if n > 0 => {
                return Err(FieldError::new("top_logprobs", "only with \"logprobs\": true"));
            }
            (false, _) => {}
        }
        Ok(())
    }

    /// How many choices are made, and which are answered.
    fn finish_choices(&mut self) -> Result<Select, FieldError> {
        if self.n == 0 {
            return Err(FieldError::new("n", "must be a whole number of 1 or more, not 0"));
        }
        match self.best_of {
            Some(best_of) if best_of > self.n && self.n == 1 && !self.is_stream => {
                self.n = best_of;
                Ok(Select::Best)
            }
            Some(best_of) if best_of != self.n => {
                let message = "must equal n, or be larger with n = 1 and without a stream";
                Err(FieldError::new("best_of", message))
            }
            _ => Ok(Select::All),
        }
    }
}

impl Call {
    /// The requests of all prompts, in order.
    pub fn requests(&self) -> Vec<Request> {
        // Without a copy of the first prompt for each of the others.
        let mut alike = self.request.clone();
        alike.prompt = Prompt::Tokens(Vec::new());
        let others = self.other_prompts.iter().map(|prompt| {
            let mut request = alike.clone();
            request.prompt = prompt.clone();
            request
        });
        [self.request.clone()].into_iter().chain(others).collect()
    }
}

impl Chat {
    /// The chat with these messages and tools.
    fn request(&self, messages: &[Message], tools: &[Value]) -> ChatRequest {
        self.settings.clone().messages(messages.iter().cloned()).tools(tools.iter().cloned())
    }
}

/// As in vLLM: requests with lower numbers come first, and 0 is usual.
fn priority(value: &Value) -> Result<Priority, String> {
    let number = value.as_i64().ok_or_else(|| format!("must be a whole number, not {value}"))?;
    Ok(match number {
        ..0 => Priority::High,
        0 => Priority::Normal,
        1.. => Priority::Low,
    })
}

/// A field whose other values are not supported.
fn only(name: &str, value: &Value) -> Result<(), String> {
    let known = ONLY.iter().find(|(known, ..)| *known == name);
    match known {
        Some((_, usual, message)) if value != usual => Err((*message).to_owned()),
        _ => Ok(()),
    }
}
