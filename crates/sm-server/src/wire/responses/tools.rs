//! Tools, and which of them the model may or must call.

use serde_json::{Map, Value, json};

/// Functions as chats have them.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// As they were given.
    pub(super) given: Vec<Value>,
    functions: Vec<Value>,
    /// The types of those that are left out: nobody runs them here.
    pub(super) skipped: Vec<String>,
}

impl Tools {
    /// Reads a list of tools.
    ///
    /// # Errors
    /// What is wrong with the first tool that cannot be.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let mut tools = Self::default();
        for (idx, tool) in value.as_array().ok_or("must be a list of tools")?.iter().enumerate() {
            match tool["type"].as_str() {
                Some("function") => {
                    let name = tool["name"].as_str().ok_or_else(|| format!("tool {idx}: needs a name"))?;
                    let mut function = json!({"name": name});
                    for field in ["description", "parameters", "strict"] {
                        if !tool[field].is_null() {
                            function[field] = tool[field].clone();
                        }
                    }
                    tools.functions.push(json!({"type": "function", "function": function}));
                    tools.given.push(with_all_fields(tool));
                }
                Some(kind) => tools.skipped.push(kind.to_owned()),
                None => return Err(format!("tool {idx}: needs a type")),
            }
        }
        Ok(tools)
    }

    /// Sets the tools of a chat, and which are called.
    ///
    /// # Errors
    /// What the choice must be, and what it is.
    pub(super) fn set(&self, chat: &mut Map<String, Value>, choice: Option<&Value>) -> Result<(), String> {
        let mut functions = self.functions.clone();
        let choice = match choice {
            None => None,
            Some(Value::String(word)) => Some(word.as_str().into()),
            Some(object) => match (object["type"].as_str(), object["name"].as_str()) {
                (Some("function"), Some(name)) => {
                    Some(json!({"type": "function", "function": {"name": name}}))
                }
                (Some("allowed_tools"), _) => {
                    let allowed: Vec<&Value> =
                        object["tools"].as_array().into_iter().flatten().map(|tool| &tool["name"]).collect();
                    functions.retain(|function| allowed.contains(&&function["function"]["name"]));
                    Some(object["mode"].as_str().unwrap_or("auto").into())
                }
                _ => {
                    let what = "\"auto\", \"none\", \"required\", a function or allowed_tools";
                    return Err(format!("must be {what}, not {object}"));
                }
            },
        };
        if functions.is_empty() {
            // Nothing can be called: no error where all tools were left out.
            return Ok(());
        }
        chat.insert("tools".to_owned(), functions.into());
        chat.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
        Ok(())
    }
}

/// A function with the fields that clients expect back.
fn with_all_fields(tool: &Value) -> Value {
    let mut tool = tool.clone();
    for field in ["description", "parameters", "strict"] {
        if tool.get(field).is_none() {
            tool[field] = Value::Null;
        }
    }
    tool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_taken_over_and_other_types_left_out() {
        let given = json!([
            {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": true},
            {"type": "function", "name": "time"},
            {"type": "web_search"},
            {"type": "namespace", "name": "x"},
        ]);
        let tools = Tools::read(&given).unwrap();
        assert_eq!(tools.skipped, ["web_search", "namespace"]);
        let weather = json!({"name": "weather", "parameters": {"type": "object"}, "strict": true});
        for (choice, functions, word) in [
            (json!("required"), 2, json!("required")),
            (
                json!({"type": "function", "name": "time"}),
                2,
                json!({"type": "function", "function": {"name": "time"}}),
            ),
            (
                json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}),
                1,
                json!("required"),
            ),
        ] {
            let mut chat = Map::new();
            tools.set(&mut chat, Some(&choice)).unwrap();
            assert_eq!(chat["tools"].as_array().unwrap().len(), functions);
            assert_eq!(chat["tools"][0], json!({"type": "function", "function": weather}));
            assert_eq!(chat["tool_choice"], word);
        }
        assert!(tools.set(&mut Map::new(), Some(&json!({"type": "web_search"}))).is_err());
    }
}
