//! Ollama's messages as OpenAI's.

use serde_json::{Map, Value, json};

/// Turns messages into those of an OpenAI chat.
///
/// # Errors
/// What is wrong with the first message that cannot be.
pub(super) fn messages(value: &Value) -> Result<Value, String> {
    let list = value.as_array().ok_or("must be a list of messages")?;
    let mut calls = Calls::default();
    let each = |(idx, given): (usize, &Value)| {
        message(given, &mut calls).map_err(|reason| format!("message {idx}: {reason}"))
    };
    list.iter().enumerate().map(each).collect()
}

/// The calls so far, to which messages with results refer by name, as old clients do, or by id.
#[derive(Default)]
struct Calls {
    /// Ids and names of the calls without a result.
    open: Vec<(String, String)>,
    n_seen: usize,
}

impl Calls {
    fn id_for(&mut self, given: Option<&str>, name: Option<&str>) -> Option<String> {
        let position = self.open.iter().position(|(id, called)| {
            given.map_or_else(|| name.is_none_or(|name| name == called), |given| given == id)
        });
        position.map(|idx| self.open.remove(idx).0).or_else(|| given.map(str::to_owned))
    }
}

fn message(given: &Value, calls: &mut Calls) -> Result<Value, String> {
    let fields = given.as_object().ok_or("must be an object with a role")?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if fields.get("images").and_then(Value::as_array).is_some_and(|images| !images.is_empty()) {
        return Err("images cannot be read; send text only".to_owned());
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), fields.get("role").cloned().unwrap_or_default());
    message.insert("content".to_owned(), fields.get("content").cloned().unwrap_or_else(|| "".into()));
    if let Some(thinking) = text("thinking") {
        message.insert("reasoning_content".to_owned(), thinking.into());
    }
    if let Some(list) = fields.get("tool_calls").and_then(Value::as_array).filter(|list| !list.is_empty()) {
        let list = list.iter().map(|each| call(each, calls)).collect::<Result<Value, String>>()?;
        message.insert("tool_calls".to_owned(), list);
    }
    if text("role") == Some("tool") {
        let name = text("tool_name").or_else(|| text("name"));
        let id = calls.id_for(text("tool_call_id"), name);
        message.extend(id.map(|id| ("tool_call_id".to_owned(), id.into())));
        message.extend(name.map(|name| ("name".to_owned(), name.into())));
    }
    Ok(Value::Object(message))
}

/// A call, whose arguments are an object here and a text there.
fn call(given: &Value, calls: &mut Calls) -> Result<Value, String> {
    let function = &given["function"];
    let name = function["name"].as_str().ok_or("a call needs {\"function\": {\"name\": …}}")?;
    calls.n_seen += 1;
    let id = given["id"].as_str().map_or_else(|| format!("call_{}", calls.n_seen), str::to_owned);
    calls.open.push((id.clone(), name.to_owned()));
    let arguments = match &function["arguments"] {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_get_ids_and_their_results_find_them_by_name() {
        let given = json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "thinking": "two cities", "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Graz"}}},
                {"id": "own", "function": {"name": "time", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_name": "time", "content": "noon"},
            {"role": "tool", "tool_name": "weather", "content": "rain"},
        ]);
        let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let expected = json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "reasoning_content": "two cities",
             "tool_calls": [call("call_1", "weather", "{\"city\":\"Graz\"}"), call("own", "time", "{}")]},
            {"role": "tool", "content": "noon", "tool_call_id": "own", "name": "time"},
            {"role": "tool", "content": "rain", "tool_call_id": "call_1", "name": "weather"},
        ]);
        assert_eq!(messages(&given).unwrap(), expected);
        let image = json!([{"role": "user", "content": "?", "images": ["aGk="]}]);
        assert!(messages(&image).unwrap_err().contains("message 0: images"));
    }
}
