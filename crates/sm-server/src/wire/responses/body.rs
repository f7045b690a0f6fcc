//! Reads the body of `/v1/responses`.

use serde_json::{Map, Value, json};
use sm_runtime::GenerationOptions;

use super::items::{messages, of_input};
use super::object::ResponseFields;
use super::tools::Tools;
use crate::wire::openai::{self, Call, Endpoint};
use crate::wire::{FieldError, options};

/// Fields that do not change the answer. A prompt that does not fit is an error whatever `truncation` says.
const WITHOUT_EFFECT: [&str; 14] = [
    "user",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "client_metadata",
    "context_management",
    "stream_options",
    "truncation",
    "max_tool_calls",
    "access_programs",
    "background_options",
];

/// What a body asks for.
#[derive(Debug)]
pub struct ResponseCall {
    /// The call of a chat.
    pub call: Call,
    /// Whether the answer is a stream.
    pub is_stream: bool,
    /// Whether the answer can be referred to later.
    pub is_stored: bool,
    /// The items of the body.
    pub input: Vec<Value>,
    /// What the answer repeats.
    pub fields: ResponseFields,
}

/// Reads a body that goes on from earlier items. `defaults` apply to what it does not set.
///
/// # Errors
/// The first field that is wrong.
pub fn read(
    body: &Map<String, Value>,
    earlier: &[Value],
    defaults: GenerationOptions,
) -> Result<ResponseCall, FieldError> {
    let mut reader = Reader::new(defaults);
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        reader.set(name, value).map_err(|message| FieldError::new(name, message))?;
    }
    reader.finish(body, earlier)
}

struct Reader {
    options: GenerationOptions,
    /// The body of a chat.
    chat: Map<String, Value>,
    instructions: Option<String>,
    input: Option<Vec<Value>>,
    tools: Tools,
    tool_choice: Option<Value>,
    is_stream: bool,
    is_stored: bool,
    has_logprobs: bool,
    n_top: Option<usize>,
}

impl Reader {
    fn new(options: GenerationOptions) -> Self {
        Self {
            options,
            chat: Map::new(),
            instructions: None,
            input: None,
            tools: Tools::default(),
            tool_choice: None,
            is_stream: false,
            is_stored: true,
            has_logprobs: false,
            n_top: None,
        }
    }

    fn pass_on(&mut self, name: &str, value: Value) {
        self.chat.insert(name.to_owned(), value);
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "model" | "previous_response_id" => options::text(value).map(drop),
            "input" => of_input(value).map(|it| self.input = Some(it)),
            "instructions" => options::text(value).map(|it| self.instructions = Some(it)),
            "stream" => options::flag(value).map(|it| self.is_stream = it),
            "store" => options::flag(value).map(|it| self.is_stored = it),
            "tools" => Tools::read(value).map(|it| self.tools = it),
            "tool_choice" => {
                self.tool_choice = Some(value.clone());
                Ok(())
            }
            "parallel_tool_calls" | "timings_per_token" | "return_progress" => {
                self.pass_on(name, value.clone());
                Ok(())
            }
            "max_output_tokens" => {
                options::count(value).map(|n| self.options.limits.max_new_tokens = n.max(1))
            }
            "top_logprobs" => options::count(value).map(|it| self.n_top = Some(it)),
            "include" => {
                let parts = value.as_array().ok_or("must be a list of names")?;
                self.has_logprobs = parts.iter().any(|part| part == "message.output_text.logprobs");
                Ok(())
            }
            "text" => self.set_text(value),
            "reasoning" => self.set_reasoning(value),
            "background" | "moderation" if value == false => Ok(()),
            "background" => Err("answers in the background are not supported; leave it out".to_owned()),
            "conversation" => Err("conversations are not stored; use previous_response_id".to_owned()),
            "prompt" => Err("prompts are not stored; send the text as instructions and input".to_owned()),
            "messages" => Err("this endpoint takes input; /v1/chat/completions takes messages".to_owned()),
            _ if WITHOUT_EFFECT.contains(&name) => Ok(()),
            _ => options::set(&mut self.options, options::canonical(name), value)
                .unwrap_or_else(|| Err("unknown field; correct its name, or leave it out".to_owned())),
        }
    }

    fn set_text(&mut self, value: &Value) -> Result<(), String> {
        if !value.is_object() {
            return Err(format!("must be an object with a format, not {value}"));
        }
        let format = &value["format"];
        match format["type"].as_str() {
            None if format.is_null() => {}
            Some("text") => {}
            Some("json_object") => self.pass_on("response_format", format.clone()),
            Some("json_schema") if format["schema"].is_object() => {
                let mut schema = format.clone();
                schema.as_object_mut().map(|fields| fields.shift_remove("type"));
                self.pass_on("response_format", json!({"type": "json_schema", "json_schema": schema}));
            }
            _ => {
                return Err(format!(
                    "format: must be text, json_object, or json_schema with a schema, not {format}"
                ));
            }
        }
        Ok(())
    }

    /// Tells the template, by the variables that templates know.
    fn set_reasoning(&mut self, value: &Value) -> Result<(), String> {
        if !value.is_object() {
            return Err(format!("must be an object with an effort, not {value}"));
        }
        let effort = match &value["effort"] {
            Value::Null => return Ok(()),
            effort => options::text(effort).map_err(|message| format!("effort: {message}"))?,
        };
        let thinks = effort != "none";
        let known = match effort.as_str() {
            "minimal" => "low",
            "xhigh" | "max" => "high",
            other => other,
        };
        if thinks {
            self.pass_on("reasoning_effort", known.into());
        }
        self.pass_on("chat_template_kwargs", json!({"enable_thinking": thinks, "thinking": thinks}));
        Ok(())
    }

    fn finish(mut self, body: &Map<String, Value>, earlier: &[Value]) -> Result<ResponseCall, FieldError> {
        let input = self.input.take().ok_or_else(|| FieldError::new("input", "missing"))?;
        let items: Vec<Value> = earlier.iter().chain(&input).cloned().collect();
        let messages = messages(self.instructions.as_deref(), &items);
        let messages = messages.map_err(|reason| FieldError::new("input", reason))?;
        self.pass_on("messages", messages.into());
        let set = self.tools.set(&mut self.chat, self.tool_choice.as_ref());
        set.map_err(|reason| FieldError::new("tool_choice", reason))?;
        if !self.chat.contains_key("tools") {
            self.chat.remove("parallel_tool_calls");
        }
        if self.has_logprobs || self.n_top.is_some_and(|n| n > 0) {
            self.pass_on("logprobs", true.into());
            self.pass_on("top_logprobs", self.n_top.unwrap_or(0).into());
        }
        let call = openai::read(Endpoint::ChatCompletions, &self.chat, self.options);
        let mut call = call.map_err(|error| FieldError { field: own_name(&error.field), ..error })?;
        call.warnings.extend(openai::skipped_tools(&self.tools.skipped));
        let sampling = &call.request.options.sampling;
        let fields = ResponseFields::new(body, self.tools.given, sampling);
        Ok(ResponseCall { call, is_stream: self.is_stream, is_stored: self.is_stored, input, fields })
    }
}

/// What a field of a chat is called here.
fn own_name(field: &str) -> String {
    match field {
        "messages" => "input",
        "response_format" => "text.format",
        "chat_template_kwargs" | "reasoning_effort" => "reasoning",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use sm_runtime::ChatRequest;

    use super::*;

    fn read_body(body: &Value) -> Result<ResponseCall, FieldError> {
        read(body.as_object().unwrap(), &[], GenerationOptions::new())
    }

    /// The fields of a request of Codex, shortened, and LM Studio's test whether a model answers.
    #[test]
    fn what_agents_send_is_understood() {
        let sent = json!({
            "model": "demo",
            "instructions": "You are an agent.",
            "input": [
                {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox."}]},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            ],
            "tools": [{"type": "web_search", "external_web_access": false}, {"type": "namespace", "name": "n", "tools": []}],
            "tool_choice": "auto",
            "parallel_tool_calls": false,
            "reasoning": {"effort": "medium", "summary": "auto"},
            "store": false,
            "stream": true,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "k",
            "text": {"verbosity": "low"},
            "client_metadata": {},
        });
        let read = read_body(&sent).unwrap();
        assert!(read.is_stream && !read.is_stored && read.call.request.options.logprobs.is_none());
        assert!(read.call.warnings[0].contains("web_search, namespace"), "{:?}", read.call.warnings);
        let expected = ChatRequest::new()
            .system("You are an agent.\n\nSandbox.")
            .user("Hi")
            .variable("reasoning_effort", "medium")
            .variable("enable_thinking", true)
            .variable("thinking", true);
        assert_eq!(read.call.request.prompt, expected.into());
        let empty = read_body(&json!({"model": "demo", "input": "", "max_output_tokens": 1})).unwrap();
        assert_eq!(empty.call.request.options.limits.max_new_tokens, 1);
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (fields, field) in [
            (json!({"input": 1}), "input"),
            (json!({"background": true}), "background"),
            (json!({"conversation": "c"}), "conversation"),
            (json!({"text": {"format": {"type": "xml"}}}), "text"),
            (json!({"text": "short"}), "text"),
            (json!({"reasoning": "low"}), "reasoning"),
            (json!({"tools": [{"name": "x"}]}), "tools"),
            (json!({"tool_choice": {"type": "mcp"}}), "tool_choice"),
            (json!({"nonsense": 1}), "nonsense"),
            (json!({"temperature": "hot"}), "temperature"),
        ] {
            let mut body = json!({"input": "Hi"});
            fields.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
            assert_eq!(read_body(&body).unwrap_err().field, field, "{fields}");
        }
        assert_eq!(read_body(&json!({})).unwrap_err().field, "input");
    }
}
