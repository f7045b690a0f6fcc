//! The bodies of the APIs of Anthropic, Ollama, OpenAI's responses and administrators, and the errors of all.

use serde_json::{Value, json};

use super::fields::{body, count, count_or_unlimited, inputs, nullable, seed, stop, stops};

/// Adds the schemas, for a model with these tokens, whose embeddings have so many values.
pub(super) fn add(add: &mut impl FnMut(&str, Value), token: &Value, max_dimensions: u64) {
    responses(add);
    anthropic(add);
    ollama(add, token, max_dimensions);
    administration(add);
    errors(add);
}

fn responses(add: &mut impl FnMut(&str, Value)) {
    let kinds = ["input_text", "output_text", "text", "summary_text", "reasoning_text"];
    let part = json!({
        "type": "object",
        "required": ["text"],
        "properties": {"type": {"enum": kinds}, "text": {"type": "string"}},
    });
    let item = json!({
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"enum": ["developer", "system", "user", "assistant"]},
            "content": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": part}]},
        },
    });
    add("Item", item);
    let input = json!({"input": {"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {
        "$ref": "#/components/schemas/Item",
    }}]}, "instructions": {"type": "string"}});
    let fields = json!({
        "max_output_tokens": count(0, u64::MAX),
        "temperature": {"type": "number", "minimum": 0},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "store": {"type": "boolean"},
        "stream": {"type": "boolean"},
        "user": {},
        "metadata": {},
    });
    add("Items", body(&["input"], std::slice::from_ref(&input)));
    add("Response", body(&["input"], &[input, fields]));
}

fn anthropic(add: &mut impl FnMut(&str, Value)) {
    let block = json!({
        "type": "object",
        "required": ["type", "text"],
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    });
    let text = json!({"anyOf": [{"type": "string"}, {"type": "array", "items": block}]});
    let message = json!({
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": ["user", "assistant"]}, "content": text},
    });
    add("AnthropicMessage", message);
    let messages = json!({
        "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/AnthropicMessage"}},
        "system": text,
    });
    let fields = json!({
        "max_tokens": count(1, u64::MAX),
        "temperature": {"type": "number", "minimum": 0},
        "top_p": {"type": "number", "minimum": 0, "maximum": 1},
        "top_k": count_or_unlimited(0),
        "stop_sequences": stops(),
        "stream": {"type": "boolean"},
        "metadata": {},
    });
    add("MessageCount", body(&["messages"], std::slice::from_ref(&messages)));
    add("Messages", body(&["messages"], &[messages, fields]));
}

fn ollama(add: &mut impl FnMut(&str, Value), token: &Value, max_dimensions: u64) {
    let options = json!({
        "type": "object",
        "properties": {
            "num_predict": nullable(json!({"type": "integer", "maximum": u64::MAX})),
            "temperature": nullable(json!({"type": "number", "minimum": 0})),
            "top_k": nullable(count_or_unlimited(0)),
            "top_p": nullable(json!({"type": "number", "minimum": 0, "maximum": 1})),
            "seed": nullable(seed()),
            "stop": nullable(stop()),
        },
        "additionalProperties": {"type": "null"},
    });
    let fields = json!({
        "options": options,
        "stream": {"type": "boolean"},
        "keep_alive": {"oneOf": [{"type": "number"}, {"enum": ["5m", "1h30m", "-1s"]}]},
    });
    let generate = json!({
        "prompt": {"type": "string"},
        "system": {"type": "string"},
        "raw": {"const": false},
    });
    let shared = json!({
        "options": fields["options"],
        "keep_alive": fields["keep_alive"],
        "truncate": {"type": "boolean"},
    });
    let text = json!({"type": "string"});
    // Without texts, the model is loaded.
    let texts = json!({
        "input": {"anyOf": [inputs(token), {"enum": ["", []]}]},
        "dimensions": count(1, max_dimensions),
    });
    add("OllamaEmbed", body(&[], &[texts, shared.clone()]));
    add("OllamaEmbedding", body(&[], &[json!({"prompt": text}), shared]));
    // Without messages or a prompt, the model is loaded.
    let messages = json!({"messages": {"type": "array", "items": {"$ref": "#/components/schemas/Message"}}});
    add("OllamaChat", body(&[], &[messages, fields.clone()]));
    add("OllamaGenerate", body(&[], &[generate, fields]));
    // Other fields, such as `verbose`, have no meaning here.
    let open = |properties: Value| json!({"type": "object", "properties": properties});
    let model = json!({"type": ["string", "null"]});
    add("OllamaModel", open(json!({"model": model})));
    add("OllamaPull", open(json!({"model": model, "stream": {"type": ["boolean", "null"]}})));
}

fn administration(add: &mut impl FnMut(&str, Value)) {
    let exactly = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false});
    let model = json!({"type": "string"});
    add("AdminModel", exactly(&["model"], json!({"model": model})));
    add(
        "AdminUnload",
        exactly(
            &["model"],
            json!({"model": model, "grace_seconds": {"type": "number", "minimum": 0, "maximum": 3600}}),
        ),
    );
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    add("AdminLevel", exactly(&["level"], json!({"level": {"enum": levels}})));
    let settings = json!({
        "model": nullable(model),
        "max_batch_size": nullable(count(1, 64)),
        "max_queued_requests": nullable(count(1, u64::MAX)),
        "max_step_tokens": nullable(count(64, 1 << 16)),
        "context_len": nullable(count(1, 1 << 20)),
        "kv_bytes": nullable(count(1, u64::MAX)),
    });
    add("AdminReconfigure", exactly(&[], settings));
}

/// The errors, each in the form of its API.
fn errors(add: &mut impl FnMut(&str, Value)) {
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let text = json!({"type": "string"});
    let maybe = json!({"type": ["string", "null"]});
    let openai = object(
        &["message", "type", "param", "code"],
        json!({"message": text, "type": text, "param": maybe, "code": maybe}),
    );
    add("Error", object(&["error"], json!({"error": openai})));
    let llamacpp = object(
        &["code", "message", "type"],
        json!({"code": {"type": "integer"}, "message": text, "type": text, "param": maybe}),
    );
    add("LlamaCppError", object(&["error"], json!({"error": llamacpp})));
    let anthropic = object(&["type", "message"], json!({"type": text, "message": text}));
    let anthropic = json!({"type": {"const": "error"}, "error": anthropic, "request_id": maybe});
    add("AnthropicError", object(&["type", "error"], anthropic));
    add("OllamaError", object(&["error"], json!({"error": text})));
    let documents = json!({"error": text, "detail": text, "code": text});
    add("DocumentsError", object(&["error", "detail", "code"], documents));
}
