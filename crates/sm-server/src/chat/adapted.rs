//! Messages and tools in the form that a template takes.
//!
//! In the API, the arguments of a call are a text; most templates expect the object. Templates that know nothing of tools are given
//! them as text: the model is told of the tools as those of the Hermes family are, and sees calls and results in the same form.

use serde_json::{Map, Value, json};
use sm_runtime::Message;

use super::ToolForm;

/// The messages and tools for a template with this source.
pub fn adapted(
    messages: &[Message],
    tools: &[Value],
    form: ToolForm,
    source: &str,
) -> (Vec<Message>, Vec<Value>) {
    let has_calls =
        |message: &Message| message.role() == "tool" || message.fields().contains_key("tool_calls");
    if tools.is_empty() && !messages.iter().any(has_calls) {
        return (messages.to_vec(), Vec::new());
    }
    let knows_tools = source.contains("tools") || source.contains("tool_calls");
    if !knows_tools {
        return (as_text(messages, tools), Vec::new());
    }
    // The templates of the first DeepSeek models append the text to the prompt.
    let takes_text = form == ToolForm::DeepSeek && !source.contains("tojson");
    let messages = messages.iter().enumerate().map(|(index, message)| {
        let mut fields = message.fields().clone();
        if !takes_text {
            unpack_arguments(&mut fields);
        }
        name_result(&mut fields, &messages[..index]);
        from_fields(fields, message)
    });
    (messages.collect(), tools.to_vec())
}

fn from_fields(fields: Map<String, Value>, otherwise: &Message) -> Message {
    Message::from_json(Value::Object(fields)).unwrap_or_else(|_| otherwise.clone())
}

/// Makes objects of the arguments of calls.
fn unpack_arguments(fields: &mut Map<String, Value>) {
    for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        let Some(text) = arguments.as_str() else { continue };
        // A call without arguments may be an empty text.
        let text = if text.trim().is_empty() { "{}" } else { text };
        if let Ok(object @ Value::Object(_)) = serde_json::from_str(text) {
            *arguments = object;
        }
    }
}

/// Gives a result the name of its tool, which some templates write.
fn name_result(fields: &mut Map<String, Value>, earlier: &[Message]) {
    if fields.get("role").is_none_or(|role| role != "tool") || fields.contains_key("name") {
        return;
    }
    let Some(id) = fields.get("tool_call_id") else { return };
    let mut calls = earlier.iter().rev().filter_map(|message| message.fields().get("tool_calls")?.as_array());
    let name = calls.find_map(|calls| {
        let call = calls.iter().find(|call| call.get("id") == Some(id))?;
        call.pointer("/function/name").cloned()
    });
    if let Some(name) = name {
        fields.insert("name".to_owned(), name);
    }
}

/// Messages in which tools, calls and results are text.
fn as_text(messages: &[Message], tools: &[Value]) -> Vec<Message> {
    let mut texts: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    let mut instructions = (!tools.is_empty()).then(|| instructions(tools));
    for message in messages {
        let content = text_of(message.fields().get("content"));
        match message.role() {
            "system" => {
                let own = instructions.take().map(|instructions| format!("\n\n{instructions}"));
                texts.push(Message::new("system", &(content + &own.unwrap_or_default())));
            }
            "tool" => {
                texts.push(Message::new("user", &format!("<tool_response>\n{content}\n</tool_response>")));
            }
            "assistant" => {
                let calls = message.fields().get("tool_calls").and_then(Value::as_array);
                let calls: Vec<String> = calls.into_iter().flatten().map(call_text).collect();
                let parts: Vec<String> =
                    [content].into_iter().filter(|text| !text.is_empty()).chain(calls).collect();
                texts.push(Message::new("assistant", &parts.join("\n")));
            }
            _ => texts.push(message.clone()),
        }
    }
    if let Some(instructions) = instructions {
        texts.insert(0, Message::new("system", &instructions));
    }
    texts
}

fn instructions(tools: &[Value]) -> String {
    let tools: Vec<String> = tools.iter().map(Value::to_string).collect();
    format!(
        "You may call functions:\n<tools>\n{}\n</tools>\nFor each call, write:\n<tool_call>\n{{\"name\": <name>, \"arguments\": <object>}}\n</tool_call>",
        tools.join("\n")
    )
}

fn call_text(call: &Value) -> String {
    let function = &call["function"];
    let arguments = match &function["arguments"] {
        Value::String(text) if text.trim().is_empty() => "{}".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let name = json!(function["name"]);
    format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>")
}

/// The text of a content, which may be a list of parts.
fn text_of(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Vec<Message> {
        Message::list_from_json(vec![
            json!({"role": "user", "content": "?"}),
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
            ]}),
            json!({"role": "tool", "tool_call_id": "b", "content": "2"}),
        ])
        .unwrap()
    }

    #[test]
    fn templates_are_given_arguments_as_objects_and_results_with_names() {
        let (messages, tools) = adapted(&conversation(), &[json!({})], ToolForm::Hermes, "{{ tools }}");
        let calls = &messages[1].fields()["tool_calls"];
        assert_eq!(calls[0]["function"]["arguments"], json!({"x": 1}));
        assert_eq!(calls[1]["function"]["arguments"], json!({}));
        assert_eq!(messages[2].fields()["name"], "g");
        assert_eq!(tools.len(), 1);
        let (messages, _) = adapted(&conversation(), &[], ToolForm::DeepSeek, "{{ tools + arguments }}");
        assert_eq!(messages[1].fields()["tool_calls"][0]["function"]["arguments"], "{\"x\": 1}");
    }

    #[test]
    fn templates_without_tools_are_given_text() {
        let (messages, tools) =
            adapted(&conversation(), &[json!({"x": 1})], ToolForm::Hermes, "{{ messages }}");
        assert!(tools.is_empty());
        let text =
            |index: usize| (messages[index].role(), messages[index].fields()["content"].as_str().unwrap());
        assert!(text(0).0 == "system" && text(0).1.contains("<tools>\n{\"x\":1}\n</tools>"), "{messages:?}");
        assert_eq!(text(1), ("user", "?"));
        let calls = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
        assert_eq!(text(2), ("assistant", calls));
        assert_eq!(text(3), ("user", "<tool_response>\n2\n</tool_response>"));
    }
}
