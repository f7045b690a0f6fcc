//! Anthropic's messages of blocks as OpenAI's messages.

use serde_json::{Map, Value, json};

/// Text that Claude Code puts before its system prompt. It changes with every turn, and a prompt whose beginning changes is never
/// found in the cache.
const BILLING: &str = "x-anthropic-billing-header:";

/// The system prompt, a text or text blocks; `None` if it is empty.
///
/// # Errors
/// What is wrong with it.
pub(super) fn system(value: &Value) -> Result<Option<String>, String> {
    let texts = match value {
        Value::String(text) => vec![text.as_str()],
        Value::Array(blocks) => blocks.iter().map(text_of).collect::<Result<_, _>>()?,
        _ => return Err("must be a text or a list of text blocks".to_owned()),
    };
    let texts: Vec<&str> =
        texts.into_iter().filter(|text| !text.starts_with(BILLING) && !text.is_empty()).collect();
    Ok((!texts.is_empty()).then(|| texts.join("\n\n")))
}

/// The text of a block that must be one of text.
fn text_of(block: &Value) -> Result<&str, String> {
    match (block["type"].as_str(), block["text"].as_str()) {
        (Some("text"), Some(text)) => Ok(text),
        (kind, _) => Err(cannot_read(kind.unwrap_or("without a type"))),
    }
}

fn cannot_read(kind: &str) -> String {
    match kind {
        "image" | "document" => format!("{kind} blocks cannot be read; send text only"),
        kind => format!("blocks of the type {kind:?} cannot be read; leave them out"),
    }
}

/// The messages of a conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Value>,
    /// Names of the calls by their ids: results have ids only, and some templates want names.
    names: Map<String, Value>,
}

impl Conversation {
    /// Adds the messages that a list becomes.
    ///
    /// # Errors
    /// What is wrong with the first message that cannot be.
    pub(super) fn read(&mut self, value: &Value) -> Result<(), String> {
        let list = value.as_array().ok_or("must be a list of messages")?;
        if list.is_empty() {
            return Err("must contain at least one message".to_owned());
        }
        for (idx, message) in list.iter().enumerate() {
            self.message(message).map_err(|reason| format!("message {idx}: {reason}"))?;
        }
        Ok(())
    }

    fn message(&mut self, message: &Value) -> Result<(), String> {
        let blocks = match &message["content"] {
            Value::String(text) => vec![json!({"type": "text", "text": text})],
            Value::Array(blocks) => blocks.clone(),
            _ => return Err("content must be a text or a list of blocks".to_owned()),
        };
        match message["role"].as_str() {
            Some("user") => self.user(&blocks),
            Some("assistant") => self.assistant(&blocks),
            Some("system") => {
                let text = system(&Value::Array(blocks))?;
                text.into_iter().for_each(|text| self.text("system", &text));
                Ok(())
            }
            _ => Err("role must be \"user\" or \"assistant\"".to_owned()),
        }
    }

    /// Adds text, to the last message if it is of the same role: templates want roles to alternate, and so does the API.
    fn text(&mut self, role: &str, text: &str) {
        match self.messages.last_mut() {
            Some(last) if last["role"] == role && last.get("tool_calls").is_none() => {
                let before = last["content"].as_str().unwrap_or_default();
                let separator = if before.is_empty() { "" } else { "\n\n" };
                last["content"] = format!("{before}{separator}{text}").into();
            }
            _ => self.messages.push(json!({"role": role, "content": text})),
        }
    }

    fn user(&mut self, blocks: &[Value]) -> Result<(), String> {
        if blocks.is_empty() {
            self.text("user", "");
        }
        for block in blocks {
            match block["type"].as_str() {
                Some("tool_result") => self.result(block)?,
                _ => self.text("user", text_of(block)?),
            }
        }
        Ok(())
    }

    fn result(&mut self, block: &Value) -> Result<(), String> {
        let id = block["tool_use_id"].as_str().ok_or("a tool_result needs tool_use_id")?;
        let text = match &block["content"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(blocks) => blocks.iter().map(text_of).collect::<Result<Vec<_>, _>>()?.join("\n"),
            _ => return Err("the content of a tool_result must be a text or a list of blocks".to_owned()),
        };
        let text = if block["is_error"] == true { format!("Error: {text}") } else { text };
        let mut message = json!({"role": "tool", "tool_call_id": id, "content": text});
        if let Some(name) = self.names.get(id) {
            message["name"] = name.clone();
        }
        self.messages.push(message);
        Ok(())
    }

    fn assistant(&mut self, blocks: &[Value]) -> Result<(), String> {
        let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for block in blocks {
            match block["type"].as_str() {
                Some("thinking") => thoughts.push(block["thinking"].as_str().unwrap_or_default()),
                // Only its maker can read it.
                Some("redacted_thinking") => {}
                Some("tool_use") => calls.push(self.call(block)?),
                _ => texts.push(text_of(block)?),
            }
        }
        let thoughts = thoughts.join("\n");
        if calls.is_empty() && thoughts.is_empty() {
            self.text("assistant", &texts.concat());
            return Ok(());
        }
        let mut message = json!({"role": "assistant", "content": texts.concat()});
        if !thoughts.is_empty() {
            message["reasoning_content"] = thoughts.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        self.messages.push(message);
        Ok(())
    }

    fn call(&mut self, block: &Value) -> Result<Value, String> {
        let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else {
            return Err("a tool_use needs an id and a name".to_owned());
        };
        self.names.insert(id.to_owned(), name.into());
        let arguments = if block["input"].is_null() { "{}".to_owned() } else { block["input"].to_string() };
        Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_prompt_loses_what_changes_with_every_turn() {
        let blocks = json!([
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=ab12;"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be brief."},
        ]);
        assert_eq!(system(&blocks), Ok(Some("You are an agent.\n\nBe brief.".to_owned())));
        assert_eq!(system(&json!("x-anthropic-billing-header: a")), Ok(None));
        assert!(system(&json!([{"type": "image"}])).is_err());
    }

    #[test]
    fn blocks_become_messages_calls_and_results() {
        let mut conversation = Conversation::default();
        let given = json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Look.", "signature": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Graz"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]},
                {"type": "text", "text": "So?"},
            ]},
            {"role": "user", "content": "Well?"},
            {"role": "assistant", "content": [{"type": "text", "text": "Rain"}]},
        ]);
        conversation.read(&given).unwrap();
        let expected = json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "I look.", "reasoning_content": "Look.", "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Graz\"}"}},
            ]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "rain", "name": "weather"},
            {"role": "user", "content": "So?\n\nWell?"},
            {"role": "assistant", "content": "Rain"},
        ]);
        assert_eq!(Value::from(conversation.messages), expected);
    }

    #[test]
    fn a_list_of_no_blocks_is_an_empty_text() {
        for role in ["user", "assistant"] {
            let [of_list, of_text] = [json!([]), json!("")].map(|content| {
                let mut conversation = Conversation::default();
                conversation.read(&json!([{"role": role, "content": content}])).unwrap();
                conversation.messages
            });
            assert_eq!(of_list, [json!({"role": role, "content": ""})]);
            assert_eq!(of_list, of_text);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (block, part) in [
            (json!({"type": "image", "source": {}}), "message 0: image blocks cannot be read"),
            (json!({"type": "document", "source": {}}), "document blocks"),
            (json!({"type": "server_tool_use"}), "\"server_tool_use\""),
            (json!({"type": "tool_result"}), "tool_use_id"),
        ] {
            let given = json!([{"role": "user", "content": [block]}]);
            let error = Conversation::default().read(&given).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
