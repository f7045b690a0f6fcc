//! Schemas of fields.

use serde_json::{Map, Value, json};

/// An object of these fields and no others, and the model's name.
pub(super) fn body(required: &[&str], fields: &[Value]) -> Value {
    let mut properties = Map::new();
    properties.insert(
        "model".to_owned(),
        json!({"type": "string", "description": "The default model if it is left out."}),
    );
    for fields in fields {
        properties.extend(fields.as_object().cloned().unwrap_or_default());
    }
    for (_, schema) in properties.iter_mut().filter(|(name, _)| !required.contains(&name.as_str())) {
        *schema = nullable(schema.take());
    }
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

/// Clients write what they do not set as null.
fn nullable(schema: Value) -> Value {
    match schema.as_object().is_some_and(Map::is_empty) {
        true => schema,
        false => json!({"anyOf": [schema, {"type": "null"}]}),
    }
}

pub(super) fn count(minimum: u64, maximum: u64) -> Value {
    json!({"type": "integer", "minimum": minimum, "maximum": maximum})
}

/// A text, token ids, or a list of either.
pub(super) fn prompt(token: &Value) -> Value {
    let text = json!({"type": "string"});
    let tokens = json!({"type": "array", "items": token, "minItems": 1});
    let list = |items: &Value| json!({"type": "array", "items": items, "minItems": 1, "maxItems": 2048});
    json!({"oneOf": [text, tokens, list(&text), list(&tokens)]})
}

pub(super) fn message() -> Value {
    json!({
        "type": "object",
        "required": ["role"],
        "properties": {"role": {"type": "string"}, "content": {"type": "string"}},
    })
}

pub(super) fn messages() -> Value {
    json!({"messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}}})
}

/// Texts at which an answer ends.
pub(super) fn stops() -> Value {
    json!({"type": "array", "items": {"type": "string", "minLength": 1}})
}

/// One of them, or several.
pub(super) fn stop() -> Value {
    json!({"oneOf": [{"type": "string", "minLength": 1}, stops()]})
}

/// How tokens are sampled, and where the output ends.
pub(super) fn sampling() -> Value {
    json!({
        "max_tokens": count(1, u64::MAX),
        "temperature": {"type": "number", "minimum": 0},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "top_k": count(0, u64::MAX),
        "min_p": {"type": "number", "minimum": 0, "maximum": 1},
        "seed": count(0, u64::MAX),
        "stop": stop(),
        "stream": {"type": "boolean"},
        "presence_penalty": {"type": "number"},
        "frequency_penalty": {"type": "number"},
    })
}

pub(super) fn flags(names: &[&str]) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), json!({"type": "boolean"}))).collect())
}
