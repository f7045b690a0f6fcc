//! The tools of a request.

use std::sync::Arc;

use serde_json::{Value, json};

/// The tools that a model may call. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Tools(Arc<[Value]>);

/// One of them: `{"name": …, "parameters": …}`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool<'t>(&'t Value);

impl Tools {
    /// Tools as `{"type": "function", "function": {"name": …, "parameters": …}}`, or the function alone.
    pub(super) fn new(tools: &[Value]) -> Self {
        Self(tools.iter().map(|tool| tool.get("function").unwrap_or(tool).clone()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Tool<'_>> {
        self.0.iter().map(Tool)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<Tool<'_>> {
        self.iter().find(|tool| tool.name() == name)
    }

    /// A parameter's value, which the model wrote as bare text: a string if the schema says so or it is no JSON.
    pub(super) fn value(&self, tool: &str, parameter: &str, text: &str) -> Value {
        let is_text = self.find(tool).is_some_and(|tool| is_text(&tool.schema()["properties"][parameter]));
        let value = if is_text { None } else { serde_json::from_str(text.trim()).ok() };
        value.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

impl<'t> Tool<'t> {
    pub(super) fn name(self) -> &'t str {
        self.0["name"].as_str().unwrap_or_default()
    }

    /// Whether its arguments must match the schema even where the model may leave the tool alone.
    pub(super) fn is_strict(self) -> bool {
        self.0["strict"] == true
    }

    /// The schema of its arguments. A tool without one takes none.
    pub(super) fn schema(self) -> Value {
        match &self.0["parameters"] {
            Value::Object(schema) => Value::Object(schema.clone()),
            _ => json!({"type": "object", "properties": {}, "additionalProperties": false}),
        }
    }
}

/// Whether a parameter can only be a text.
pub(super) fn is_text(schema: &Value) -> bool {
    match &schema["type"] {
        Value::Array(kinds) => !kinds.is_empty() && kinds.iter().all(|kind| kind == "string"),
        kind => kind == "string",
    }
}
