//! The fields of chats.

use serde_json::{Value, json};
use sm_runtime::{ChatRequest, Message};

use super::{Chat, Reader};
use crate::chat::ReasoningFormat;
use crate::wire::fields;
use crate::wire::{FieldError, options};

impl Reader {
    pub(super) fn set_of_chat(&mut self, name: &str, value: &Value) -> Option<Result<(), String>> {
        Some(match name {
            "messages" => messages(value).map(|messages| {
                self.has_messages = true;
                self.chat.messages = messages;
            }),
            "logprobs" => options::flag(value).map(|it| self.has_logprobs = it),
            "top_logprobs" => options::count(value).map(|it| self.n_top = Some(it)),
            "tools" => self.set_tools(value),
            "tool_choice" => self.chat.tool_use.set_choice(value),
            "parallel_tool_calls" => options::flag(value).map(|it| self.chat.tool_use.in_parallel = it),
            "functions" => Err("deprecated by OpenAI; use tools".to_owned()),
            "function_call" => Err("deprecated by OpenAI; use tool_choice".to_owned()),
            "include_reasoning" => options::flag(value).map(|it| self.extras.hides_reasoning = !it),
            "reasoning_format" => match value.as_str().and_then(ReasoningFormat::of_name) {
                Some(format) => {
                    self.chat.reasoning = format;
                    Ok(())
                }
                None => Err("must be \"none\", \"deepseek\" or \"auto\"".to_owned()),
            },
            "echo" if value == false => Ok(()),
            "echo" => Err(
                "only /v1/completions repeats the prompt; to continue a message, use continue_final_message"
                    .to_owned(),
            ),
            "modalities" if *value == json!(["text"]) => Ok(()),
            "modalities" => Err("only [\"text\"] is possible".to_owned()),
            "prompt" => Err("this endpoint takes messages; /v1/completions takes a prompt".to_owned()),
            _ => return self.set_of_template(name, value),
        })
    }

    /// What the template is given beside messages and tools.
    fn set_of_template(&mut self, name: &str, value: &Value) -> Option<Result<(), String>> {
        Some(match name {
            "chat_template_kwargs" => fields::variables(value).map(|variables| {
                for (name, value) in variables {
                    self.change(|chat| chat.variable(&name, value));
                }
            }),
            "reasoning_effort" => options::text(value).map(|effort| {
                // Templates that only know whether to think.
                if effort == "none" {
                    self.change(|chat| chat.variable("enable_thinking", false));
                }
                self.change(|chat| chat.variable(name, effort));
            }),
            "enable_thinking" => options::flag(value).map(|it| self.change(|chat| chat.variable(name, it))),
            "documents" => {
                fields::objects(value).map(|documents| self.change(|chat| chat.documents(documents)))
            }
            "add_generation_prompt" => {
                options::flag(value).map(|it| self.change(|chat| chat.add_generation_prompt(it)))
            }
            "continue_final_message" => {
                options::flag(value).map(|it| self.change(|chat| chat.continue_final_message(it)))
            }
            _ => return None,
        })
    }

    fn change(&mut self, change: impl FnOnce(ChatRequest) -> ChatRequest) {
        self.chat.settings = change(std::mem::take(&mut self.chat.settings));
    }

    /// Functions. Tools of other kinds are run by who offers them, and left out here.
    fn set_tools(&mut self, value: &Value) -> Result<(), String> {
        for (index, tool) in fields::objects(value)?.into_iter().enumerate() {
            match tool.get("type").and_then(Value::as_str) {
                Some("function") => {}
                Some(kind) => {
                    self.warnings.push(format!("tools[{index}] of type {kind:?} was left out"));
                    continue;
                }
                None => return Err(format!("[{index}].type must be \"function\"")),
            }
            let name = tool["function"]["name"].as_str().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(format!("[{index}].function.name must be a name without spaces"));
            }
            let parameters = &tool["function"]["parameters"];
            if !parameters.is_object() && !parameters.is_null() {
                return Err(format!("[{index}].function.parameters must be a JSON schema"));
            }
            self.chat.tools.push(tool);
        }
        Ok(())
    }

    pub(super) fn finish_chat(&mut self) -> Result<Chat, FieldError> {
        if !self.has_messages {
            return Err(FieldError::new("messages", "missing"));
        }
        let mut chat = std::mem::take(&mut self.chat);
        let selected = chat.tool_use.select(std::mem::take(&mut chat.tools));
        chat.tools = selected.map_err(|message| FieldError::new("tool_choice", message))?;
        Ok(chat)
    }
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
