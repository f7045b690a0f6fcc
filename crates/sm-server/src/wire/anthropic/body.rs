//! Reads the body of `/v1/messages`.

use serde_json::{Map, Value, json};
use sm_runtime::GenerationOptions;

use super::blocks::{Conversation, system};
use super::tools::{set_choice, tools};
use crate::wire::openai::{self, Call, Endpoint};
use crate::wire::{FieldError, options};

/// Fields that do not change the answer.
const WITHOUT_EFFECT: [&str; 12] = [
    "metadata",
    "service_tier",
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "speed",
    "user_profile_id",
    "workspace_id",
    "betas",
    "anthropic_beta",
];

/// What a body asks for.
#[derive(Debug)]
pub struct MessageCall {
    /// The call of a chat.
    pub call: Call,
    /// Whether the answer is a stream.
    pub is_stream: bool,
    /// Whether blocks of thoughts are sent empty.
    pub omits_thoughts: bool,
}

/// Reads a body. `defaults` apply to what it does not set.
///
/// # Errors
/// The first field that is wrong.
pub fn read(body: &Map<String, Value>, defaults: GenerationOptions) -> Result<MessageCall, FieldError> {
    let mut reader = Reader::new(defaults);
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        reader.set(name, value).map_err(|message| FieldError::new(name, message))?;
    }
    reader.finish()
}

struct Reader {
    options: GenerationOptions,
    /// The body of an OpenAI chat.
    chat: Map<String, Value>,
    system: Option<String>,
    conversation: Conversation,
    is_stream: bool,
    thinks: bool,
    omits_thoughts: bool,
    skipped_tools: Vec<String>,
}

impl Reader {
    fn new(options: GenerationOptions) -> Self {
        Self {
            options,
            chat: Map::new(),
            system: None,
            conversation: Conversation::default(),
            is_stream: false,
            thinks: false,
            omits_thoughts: false,
            skipped_tools: Vec::new(),
        }
    }

    fn pass_on(&mut self, name: &str, value: Value) {
        self.chat.insert(name.to_owned(), value);
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        match name {
            "model" => options::text(value).map(drop),
            "messages" => self.conversation.read(value),
            "system" => system(value).map(|it| self.system = it),
            "stream" => options::flag(value).map(|it| self.is_stream = it),
            "max_tokens" => {
                let n_tokens = options::count(value)?;
                if n_tokens == 0 {
                    return Err("must be at least 1: prompts are cached without asking".to_owned());
                }
                self.options.limits.max_new_tokens = n_tokens;
                Ok(())
            }
            "temperature" | "top_p" | "top_k" => {
                options::set(&mut self.options, options::canonical(name), value).unwrap_or(Ok(()))
            }
            "stop_sequences" if value.is_string() => Err(format!("must be a list of texts, not {value}")),
            "stop_sequences" => options::set(&mut self.options, "stop", value).unwrap_or(Ok(())),
            "tools" => {
                let (functions, skipped) = tools(value)?;
                self.skipped_tools = skipped;
                if !functions.is_empty() {
                    self.pass_on("tools", functions.into());
                }
                Ok(())
            }
            "tool_choice" => set_choice(&mut self.chat, value),
            "thinking" => self.set_thinking(value),
            "output_config" => self.set_output(value),
            // What newer versions of the API call that part of `output_config`.
            "output_format" => self.set_format(value),
            "mcp_servers" if value.as_array().is_some_and(Vec::is_empty) => Ok(()),
            "mcp_servers" => Err("this server calls no others; leave it out".to_owned()),
            _ if WITHOUT_EFFECT.contains(&name) => Ok(()),
            _ => Err("unknown field; correct its name, or leave it out".to_owned()),
        }
    }

    /// How much it thinks is up to the model: `budget_tokens` is a wish.
    fn set_thinking(&mut self, value: &Value) -> Result<(), String> {
        self.thinks = match value["type"].as_str() {
            Some("enabled" | "adaptive" | "between_tools") => true,
            Some("disabled") => false,
            _ => {
                return Err(format!(
                    "must be {{\"type\": \"enabled\"}}, \"adaptive\" or \"disabled\", not {value}"
                ));
            }
        };
        self.omits_thoughts = value["display"] == "omitted";
        Ok(())
    }

    fn set_output(&mut self, value: &Value) -> Result<(), String> {
        let fields = value.as_object().ok_or("must be an object with effort or format")?;
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "effort" => {
                    let effort = options::text(value)?;
                    // Templates know three.
                    let effort =
                        if ["xhigh", "max"].contains(&effort.as_str()) { "high".to_owned() } else { effort };
                    self.pass_on("reasoning_effort", effort.into());
                }
                "format" => self.set_format(value)?,
                "task_budget" => {}
                _ => return Err(format!("{name}: unknown field; correct its name, or leave it out")),
            }
        }
        Ok(())
    }

    fn set_format(&mut self, value: &Value) -> Result<(), String> {
        match (value["type"].as_str(), value["schema"].as_object()) {
            (Some("json_schema"), Some(schema)) => {
                let schema = json!({"name": "output", "schema": schema, "strict": true});
                self.pass_on("response_format", json!({"type": "json_schema", "json_schema": schema}));
                Ok(())
            }
            _ => Err(format!("must be {{\"type\": \"json_schema\", \"schema\": {{…}}}}, not {value}")),
        }
    }

    fn finish(mut self) -> Result<MessageCall, FieldError> {
        let mut messages = std::mem::take(&mut self.conversation.messages);
        if messages.is_empty() {
            return Err(FieldError::new("messages", "missing"));
        }
        // An answer that was begun is continued.
        let last =
            messages.last().filter(|last| last["role"] == "assistant" && last.get("tool_calls").is_none());
        if last.is_some() {
            self.pass_on("continue_final_message", true.into());
            self.pass_on("add_generation_prompt", false.into());
        }
        if let Some(system) = self.system.take() {
            messages.insert(0, json!({"role": "system", "content": system}));
        }
        self.pass_on("messages", messages.into());
        if !self.chat.contains_key("tools") {
            // All were left out: nothing can be called, and nothing chosen.
            self.chat.remove("tool_choice");
            self.chat.remove("parallel_tool_calls");
        }
        let variables = json!({"enable_thinking": self.thinks, "thinking": self.thinks});
        self.pass_on("chat_template_kwargs", variables);
        let call = openai::read(Endpoint::ChatCompletions, &self.chat, self.options);
        let mut call = call.map_err(|error| FieldError { field: own_name(&error.field), ..error })?;
        call.warnings.extend(openai::skipped_tools(&self.skipped_tools));
        Ok(MessageCall { call, is_stream: self.is_stream, omits_thoughts: self.omits_thoughts })
    }
}

/// What a field of an OpenAI chat is called here.
fn own_name(field: &str) -> String {
    match field {
        "response_format" | "reasoning_effort" => "output_config",
        "parallel_tool_calls" => "tool_choice.disable_parallel_tool_use",
        "chat_template_kwargs" => "thinking",
        "stop" => "stop_sequences",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use sm_runtime::ChatRequest;

    use super::*;

    fn body(fields: &Value) -> Map<String, Value> {
        let mut body =
            json!({"model": "demo", "max_tokens": 32_000, "messages": [{"role": "user", "content": "Hi"}]});
        fields.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        body.as_object().unwrap().clone()
    }

    /// The fields of a request of Claude Code 2.1, shortened.
    #[test]
    fn what_claude_code_sends_is_understood() {
        let sent = body(&json!({
            "system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}, {"type": "text", "text": "Help."}],
            "metadata": {"user_id": "u"},
            "thinking": {"type": "adaptive"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "medium"},
            "stream": true,
            "temperature": 1,
        }));
        let read = read(&sent, GenerationOptions::new()).unwrap();
        assert!(read.is_stream && read.call.warnings.is_empty());
        assert_eq!(read.call.request.options.limits.max_new_tokens, 32_000);
        let expected = ChatRequest::new()
            .system("Help.")
            .user("Hi")
            .variable("reasoning_effort", "medium")
            .variable("enable_thinking", true)
            .variable("thinking", true);
        assert_eq!(read.call.request.prompt, expected.into());
    }

    #[test]
    fn an_answer_that_was_begun_is_continued() {
        let begun = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}]);
        let read = read(&body(&json!({"messages": begun})), GenerationOptions::new()).unwrap();
        let expected = ChatRequest::new()
            .user("Hi")
            .assistant("Hel")
            .continue_final_message(true)
            .add_generation_prompt(false)
            .variable("enable_thinking", false)
            .variable("thinking", false);
        assert_eq!(read.call.request.prompt, expected.into());
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (fields, field) in [
            (json!({"max_tokens": "many"}), "max_tokens"),
            (json!({"messages": []}), "messages"),
            (json!({"system": 1}), "system"),
            (json!({"stop_sequences": "x"}), "stop_sequences"),
            (json!({"thinking": {"type": "sometimes"}}), "thinking"),
            (json!({"tool_choice": {"type": "tool"}}), "tool_choice"),
            (json!({"mcp_servers": [{}]}), "mcp_servers"),
            (json!({"nonsense": 1}), "nonsense"),
            (json!({"output_config": {"format": {"type": "xml"}}}), "output_config"),
        ] {
            assert_eq!(read(&body(&fields), GenerationOptions::new()).unwrap_err().field, field, "{fields}");
        }
    }
}
