//! Schemas of fields.

use serde_json::{Map, Value, json};

use crate::wire::fields::MAX_PROMPTS;

/// An object of these fields and the model's name. Others may be there if they are null.
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
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": {"type": "null"}})
}

/// Clients write what they do not set as null.
pub(super) fn nullable(schema: Value) -> Value {
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
    let tokens = json!({"type": "array", "items": token});
    one_or_more(&text, &tokens)
}

/// As [`prompt`], of which none is empty.
pub(super) fn inputs(token: &Value) -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let tokens = json!({"type": "array", "items": token, "minItems": 1});
    one_or_more(&text, &tokens)
}

fn one_or_more(text: &Value, tokens: &Value) -> Value {
    let list =
        |items: &Value| json!({"type": "array", "items": items, "minItems": 1, "maxItems": MAX_PROMPTS});
    json!({"oneOf": [text, tokens, list(text), list(tokens)]})
}

/// As [`count`], or -1 for no limit.
pub(super) fn count_or_unlimited(minimum: u64) -> Value {
    json!({"anyOf": [count(minimum, u64::MAX), {"const": -1}]})
}

/// A number, or -1 for a random one.
pub(super) fn seed() -> Value {
    json!({"type": "integer", "minimum": -1, "maximum": u64::MAX})
}

/// A penalty of tokens that were there before.
fn penalty() -> Value {
    json!({"type": "number", "minimum": -100, "maximum": 100})
}

pub(super) fn message() -> Value {
    let part = json!({
        "type": "object",
        "required": ["text"],
        "properties": {"text": {"type": "string"}},
    });
    let content = json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"anyOf": [{"type": "string"}, part]}}]});
    // An answer may have calls instead of a text.
    let answer = json!({"role": {"const": "assistant"}, "content": {"type": "null"}});
    json!({
        "type": "object",
        "required": ["role"],
        "anyOf": [
            {"properties": {"role": {"type": "string"}, "content": content}},
            {"properties": answer},
        ],
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
        "max_tokens": count_or_unlimited(1),
        "temperature": {"type": "number", "minimum": 0},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "top_k": count_or_unlimited(0),
        "min_p": {"type": "number", "minimum": 0, "maximum": 1},
        "seed": seed(),
        "stop": stop(),
        "stream": {"type": "boolean"},
        "presence_penalty": penalty(),
        "frequency_penalty": penalty(),
    })
}

pub(super) fn flags(names: &[&str]) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), json!({"type": "boolean"}))).collect())
}
