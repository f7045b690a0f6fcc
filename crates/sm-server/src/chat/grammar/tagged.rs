//! Grammars of calls whose arguments are tags.

use serde_json::Value;

use super::{Rules, Tool, ToolForm, arguments_rule, quoted};
use crate::chat::tools::is_text;

/// What is around the parts of a call.
struct Tags {
    open: String,
    close: &'static str,
    key: (&'static str, &'static str),
    end_of_value: &'static str,
}

impl Rules<'_> {
    /// A call of one of the tools.
    pub(super) fn tagged(&mut self) -> String {
        let wanted = self.wanted;
        let calls: Vec<String> = wanted.callable().map(|tool| self.tagged_call(tool)).collect();
        calls.join(" | ")
    }

    fn tagged_call(&mut self, tool: Tool<'_>) -> String {
        let name = tool.name();
        let tags = match self.wanted.form {
            ToolForm::Glm => Tags {
                open: format!("{name}\n"),
                close: "</tool_call>",
                key: ("<arg_key>", "</arg_key>\n<arg_value>"),
                end_of_value: "</arg_value>\n",
            },
            _ => Tags {
                open: format!("\n<function={name}>\n"),
                close: "</function>\n</tool_call>",
                key: ("<parameter=", ">\n"),
                end_of_value: "\n</parameter>\n",
            },
        };
        let schema = tool.schema();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut call = quoted(&tags.open);
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let head = quoted(&format!("{}{key}{}", tags.key.0, tags.key.1));
            let value = self.tagged_value(&schema, value, tags.end_of_value);
            let argument = self.rule(&format!("{head} {value}"));
            let is_required = required.iter().any(|name| name == key);
            call.push_str(&format!(" {argument}{}", if is_required { "" } else { "?" }));
        }
        format!("{call} {}", quoted(tags.close))
    }

    /// A value with its end: text as it is, all else as JSON.
    fn tagged_value(&mut self, schema: &Value, value: &Value, end: &str) -> String {
        if let (true, Some(options)) = (is_text(value), value["enum"].as_array()) {
            let options: Vec<String> = options.iter().filter_map(Value::as_str).map(quoted).collect();
            return format!("({}) {}", options.join(" | "), quoted(end));
        }
        if is_text(value) {
            return self.up_to_text(end);
        }
        let mut value = value.clone();
        // References lead into the schema of the whole.
        for definitions in ["$defs", "definitions"] {
            if let (Some(all), Some(value)) = (schema.get(definitions), value.as_object_mut()) {
                value.insert(definitions.to_owned(), all.clone());
            }
        }
        format!("{} {}", arguments_rule(value), quoted(end))
    }
}
