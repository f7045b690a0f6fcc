//! Tools, and which of them the model may or must call.

use serde_json::{Map, Value, json};

/// Functions as OpenAI has them, and the types of the tools that are left out since only Anthropic runs them.
///
/// # Errors
/// What is wrong with the first tool that cannot be.
pub(super) fn tools(value: &Value) -> Result<(Vec<Value>, Vec<String>), String> {
    let list = value.as_array().ok_or("must be a list of tools")?;
    let (mut functions, mut skipped) = (Vec::new(), Vec::new());
    for (idx, tool) in list.iter().enumerate() {
        // Claude Code leaves the type out.
        match tool["type"].as_str() {
            None | Some("custom") => {
                functions.push(function(tool).map_err(|reason| format!("tool {idx}: {reason}"))?);
            }
            Some(kind) => skipped.push(kind.to_owned()),
        }
    }
    Ok((functions, skipped))
}

fn function(tool: &Value) -> Result<Value, String> {
    let name = tool["name"].as_str().ok_or("needs a name")?;
    let schema = tool["input_schema"].as_object().ok_or("needs an input_schema, an object")?;
    let mut function = json!({"name": name, "parameters": schema});
    for field in ["description", "strict"] {
        if !tool[field].is_null() {
            function[field] = tool[field].clone();
        }
    }
    Ok(json!({"type": "function", "function": function}))
}

/// Sets which tools are called.
///
/// # Errors
/// What it must be, and what it is.
pub(super) fn set_choice(chat: &mut Map<String, Value>, value: &Value) -> Result<(), String> {
    let choice = match (value["type"].as_str(), value["name"].as_str()) {
        (Some("auto"), _) => "auto".into(),
        (Some("any"), _) => "required".into(),
        (Some("none"), _) => "none".into(),
        (Some("tool"), Some(name)) => json!({"type": "function", "function": {"name": name}}),
        _ => {
            let what = "{\"type\": \"auto\"}, \"any\", \"none\", or {\"type\": \"tool\", \"name\": …}";
            return Err(format!("must be {what}, not {value}"));
        }
    };
    chat.insert("tool_choice".to_owned(), choice);
    if value["disable_parallel_tool_use"] == true {
        chat.insert("parallel_tool_calls".to_owned(), false.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_taken_over_and_tools_of_the_server_left_out() {
        let schema = json!({"type": "object", "properties": {}});
        let given = json!([
            {"name": "weather", "description": "The weather.", "input_schema": schema, "cache_control": {"type": "ephemeral"}},
            {"type": "custom", "name": "time", "input_schema": schema},
            {"type": "web_search_20250305", "name": "web_search"},
        ]);
        let (functions, skipped) = tools(&given).unwrap();
        let weather = json!({"name": "weather", "parameters": schema, "description": "The weather."});
        assert_eq!(functions[0], json!({"type": "function", "function": weather}));
        assert_eq!((functions.len(), skipped), (2, vec!["web_search_20250305".to_owned()]));
        assert!(tools(&json!([{"name": "x"}])).unwrap_err().contains("input_schema"));
    }

    #[test]
    fn choices_have_their_counterparts() {
        for (given, expected) in [
            (json!({"type": "auto"}), json!({"tool_choice": "auto"})),
            (
                json!({"type": "any", "disable_parallel_tool_use": true}),
                json!({"tool_choice": "required", "parallel_tool_calls": false}),
            ),
            (
                json!({"type": "tool", "name": "x"}),
                json!({"tool_choice": {"type": "function", "function": {"name": "x"}}}),
            ),
        ] {
            let mut chat = Map::new();
            set_choice(&mut chat, &given).unwrap();
            assert_eq!(Value::Object(chat), expected);
        }
        assert!(set_choice(&mut Map::new(), &json!({"type": "tool"})).is_err());
    }
}
