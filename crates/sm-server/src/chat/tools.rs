//! The tools of a request.

use std::sync::Arc;

use serde_json::Value;

/// The tools that a model may call. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Tools(Arc<[Value]>);

impl Tools {
    /// Tools as `{"type": "function", "function": {"name": …, "parameters": …}}`, or the function alone.
    pub(super) fn new(tools: &[Value]) -> Self {
        Self(tools.iter().map(|tool| tool.get("function").unwrap_or(tool).clone()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|tool| tool["name"] == name)
    }

    /// A parameter's value, which the model wrote as bare text: a string if the schema says so or it is no JSON.
    pub(super) fn value(&self, tool: &str, parameter: &str, text: &str) -> Value {
        let text_value = || Value::String(text.to_owned());
        let schema =
            self.find(tool).map_or(&Value::Null, |tool| &tool["parameters"]["properties"][parameter]);
        match &schema["type"] {
            kind if kind == "string" => text_value(),
            // In such a choice, what looks like another type is one.
            Value::Array(kinds) if kinds.iter().all(|kind| kind == "string") => text_value(),
            _ => serde_json::from_str(text.trim()).unwrap_or_else(|_| text_value()),
        }
    }
}
