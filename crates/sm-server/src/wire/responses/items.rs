//! Items as the messages of a chat.

use serde_json::{Value, json};

/// The items of an input: a text is a message of the user.
///
/// # Errors
/// What it must be.
pub(super) fn of_input(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::String(text) => Ok(vec![json!({"type": "message", "role": "user", "content": text})]),
        Value::Array(items) => Ok(items.clone()),
        _ => Err("must be a text or a list of items".to_owned()),
    }
}

/// Items with an id each, as lists of them have it.
pub fn with_ids(items: &[Value], id: &str) -> Vec<Value> {
    let each = |(idx, item): (usize, &Value)| {
        let mut item = item.clone();
        if item["type"].is_null() {
            item["type"] = "message".into();
        }
        if item["id"].is_null() {
            item["id"] = format!("item_{id}_{idx}").into();
        }
        item
    };
    items.iter().enumerate().map(each).collect()
}

/// The messages of a conversation.
///
/// # Errors
/// What is wrong with the first item that cannot be.
pub(super) fn messages(instructions: Option<&str>, items: &[Value]) -> Result<Vec<Value>, String> {
    let mut messages = Messages::default();
    if let Some(text) = instructions.filter(|text| !text.is_empty()) {
        messages.text("system", text);
    }
    for (idx, item) in items.iter().enumerate() {
        messages.item(item).map_err(|reason| format!("item {idx}: {reason}"))?;
    }
    messages.flush_thoughts();
    Ok(messages.list)
}

#[derive(Default)]
struct Messages {
    list: Vec<Value>,
    /// Thoughts of the answer that comes next.
    thoughts: String,
    /// Names of the calls by their ids: some templates want them with the results.
    names: Vec<(String, String)>,
}

impl Messages {
    fn item(&mut self, item: &Value) -> Result<(), String> {
        match item["type"].as_str() {
            None | Some("message") => {
                let role = item["role"].as_str().ok_or("a message needs a role")?;
                let text = text_of(&item["content"])?;
                match role {
                    "developer" | "system" => self.text("system", &text),
                    "user" => self.text("user", &text),
                    "assistant" => self.answer_text(&text),
                    other => return Err(format!("the role {other:?} does not exist")),
                }
                Ok(())
            }
            Some("function_call") => self.call(item),
            Some("function_call_output") => self.result(item),
            Some("reasoning") => {
                for part in ["content", "summary"].iter().filter_map(|list| item[*list].as_array()).flatten()
                {
                    self.thoughts.push_str(part["text"].as_str().unwrap_or_default());
                }
                Ok(())
            }
            Some(kind) => Err(format!("items of the type {kind:?} cannot be read; leave it out")),
        }
    }

    /// Adds a text. Instructions and the messages of developers that come first are one system prompt, of which templates take one.
    fn text(&mut self, role: &str, text: &str) {
        self.flush_thoughts();
        match self.list.last_mut() {
            Some(last) if role == "system" && last["role"] == "system" => {
                last["content"] =
                    format!("{}\n\n{text}", last["content"].as_str().unwrap_or_default()).into();
            }
            _ => self.list.push(json!({"role": role, "content": text})),
        }
    }

    /// The message of the assistant that is being read.
    fn answer(&mut self) -> &mut Value {
        let continues =
            self.thoughts.is_empty() && self.list.last().is_some_and(|last| last["role"] == "assistant");
        if !continues {
            let mut message = json!({"role": "assistant", "content": ""});
            if !self.thoughts.is_empty() {
                message["reasoning_content"] = std::mem::take(&mut self.thoughts).into();
            }
            self.list.push(message);
        }
        let idx = self.list.len() - 1;
        &mut self.list[idx]
    }

    fn answer_text(&mut self, text: &str) {
        let last = self.list.last();
        let after_calls = last.is_some_and(|last| last.get("tool_calls").is_some());
        if after_calls && self.thoughts.is_empty() {
            self.list.push(json!({"role": "assistant", "content": text}));
            return;
        }
        let message = self.answer();
        message["content"] = format!("{}{text}", message["content"].as_str().unwrap_or_default()).into();
    }

    fn flush_thoughts(&mut self) {
        if !self.thoughts.is_empty() {
            self.answer();
        }
    }

    fn call(&mut self, item: &Value) -> Result<(), String> {
        let (Some(id), Some(name)) = (item["call_id"].as_str(), item["name"].as_str()) else {
            return Err("a function_call needs call_id and name".to_owned());
        };
        let arguments = item["arguments"].as_str().unwrap_or("{}");
        self.names.push((id.to_owned(), name.to_owned()));
        let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let message = self.answer();
        match message["tool_calls"].as_array_mut() {
            Some(calls) => calls.push(call),
            None => message["tool_calls"] = json!([call]),
        }
        Ok(())
    }

    fn result(&mut self, item: &Value) -> Result<(), String> {
        self.flush_thoughts();
        let id = item["call_id"].as_str().ok_or("a function_call_output needs call_id")?;
        let mut message = json!({"role": "tool", "tool_call_id": id, "content": text_of(&item["output"])?});
        if let Some((_, name)) = self.names.iter().find(|(known, _)| known == id) {
            message["name"] = name.as_str().into();
        }
        self.list.push(message);
        Ok(())
    }
}

/// The text of a content: a text, or a list of parts.
fn text_of(content: &Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => parts.iter().map(part_text).collect(),
        Value::Null => Ok(String::new()),
        _ => Err("the content must be a text or a list of parts".to_owned()),
    }
}

fn part_text(part: &Value) -> Result<&str, String> {
    let kind = part.get("type");
    let text = match kind.map(Value::as_str) {
        None | Some(Some("input_text" | "output_text" | "text" | "summary_text" | "reasoning_text")) => {
            part["text"].as_str()
        }
        Some(Some("refusal")) => part["refusal"].as_str(),
        Some(_) => None,
    };
    text.ok_or_else(|| {
        let kind = kind.map_or_else(|| "\"text\"".to_owned(), Value::to_string);
        format!("parts of the type {kind} cannot be read; send text only")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_messages_with_calls_thoughts_and_results() {
        let items = json!([
            {"role": "developer", "content": [{"type": "input_text", "text": "Use tools."}]},
            {"type": "message", "role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Look."}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "time", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "rain"},
            {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "noon"}]},
        ]);
        let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
        let expected = json!([
            {"role": "system", "content": "Be brief.\n\nUse tools."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "I look.", "reasoning_content": "Look.",
             "tool_calls": [call("a", "weather"), call("b", "time")]},
            {"role": "tool", "tool_call_id": "a", "content": "rain", "name": "weather"},
            {"role": "tool", "tool_call_id": "b", "content": "noon", "name": "time"},
        ]);
        let messages = messages(Some("Be brief."), items.as_array().unwrap()).unwrap();
        assert_eq!(Value::from(messages), expected);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (item, part) in [
            (
                json!({"role": "user", "content": [{"type": "input_image"}]}),
                "item 0: parts of the type \"input_image\"",
            ),
            (json!({"role": "user", "content": [{"type": 5, "text": "a"}]}), "item 0: parts of the type 5"),
            (json!({"role": "user", "content": [{"type": "text", "text": 5}]}), "parts of the type \"text\""),
            (json!({"role": "user", "content": ["a"]}), "parts of the type \"text\""),
            (json!({"type": "web_search_call"}), "\"web_search_call\""),
            (json!({"type": "function_call_output", "output": "x"}), "call_id"),
            (json!({"content": "x"}), "role"),
        ] {
            let error = messages(None, &[item]).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
