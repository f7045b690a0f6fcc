//! The schemas of bodies. Fields that many endpoints share are written once; docs/server.md tells of their other names.

use serde_json::{Map, Value, json};

/// All schemas by name.
pub(super) fn all() -> Value {
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| _ = schemas.insert(name.to_owned(), schema);
    add("Error", json!({"type": "object", "required": ["error"]}));
    add("Message", message());
    add("Chat", body(&["messages"], &[messages(), sampling(), openai()]));
    add("Completion", body(&["prompt"], &[json!({"prompt": prompts()}), sampling(), openai()]));
    add("Embeddings", embeddings("input"));
    add("LlamaEmbedding", embeddings("content"));
    add("Generate", body(&["prompt"], &[json!({"prompt": {"type": "string"}}), sampling(), documents()]));
    add("Problem", body(&["problem"], &[json!({"problem": {"type": "string"}}), sampling(), documents()]));
    add(
        "LlamaCompletion",
        body(&["prompt"], &[json!({"prompt": {"type": "string"}}), sampling(), llamacpp()]),
    );
    add(
        "Tokenize",
        body(
            &["content"],
            &[
                json!({"content": {"type": "string"}}),
                flags(&["add_special", "parse_special", "with_pieces", "return_token_strs"]),
            ],
        ),
    );
    add(
        "Detokenize",
        body(
            &["tokens"],
            &[json!({"tokens": {"type": "array", "items": token()}}), flags(&["skip_special_tokens"])],
        ),
    );
    add("Messages", body(&["messages"], &[messages(), flags(&["add_generation_prompt"])]));
    Value::Object(schemas)
}

/// An object of these fields and no others, and the model's name.
fn body(required: &[&str], fields: &[Value]) -> Value {
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

fn token() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// A text, token ids, or a list of either.
fn prompts() -> Value {
    let text = json!({"type": "string"});
    let tokens = json!({"type": "array", "items": token(), "minItems": 1});
    let list = |items: &Value| json!({"type": "array", "items": items, "minItems": 1, "maxItems": 2048});
    json!({"oneOf": [text, tokens, list(&text), list(&tokens)]})
}

fn message() -> Value {
    json!({
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": ["system", "user", "assistant"]}, "content": {"type": "string"}},
    })
}

fn messages() -> Value {
    json!({"messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}}})
}

/// How tokens are sampled, and where the output ends.
fn sampling() -> Value {
    json!({
        "max_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "top_k": {"type": "integer", "minimum": 0},
        "min_p": {"type": "number", "minimum": 0, "maximum": 1},
        "seed": {"type": "integer", "minimum": 0},
        "stop": {"oneOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}]},
        "stream": {"type": "boolean"},
        "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
        "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    })
}

fn openai() -> Value {
    json!({"n": {"type": "integer", "minimum": 1, "maximum": 4}, "user": {}})
}

fn documents() -> Value {
    json!({
        "do_sample": {"type": "boolean"},
        "num_return_sequences": {"type": "integer", "minimum": 1, "maximum": 4},
        "repetition_penalty": {"type": "number", "exclusiveMinimum": 0},
        "priority": {"enum": ["low", "normal", "high", "critical"]},
    })
}

fn llamacpp() -> Value {
    let mut fields = flags(&["return_tokens", "cache_prompt"]);
    fields["n_probs"] = json!({"type": "integer", "minimum": 0});
    fields
}

fn embeddings(input: &str) -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let inputs =
        json!({"oneOf": [text.clone(), {"type": "array", "items": text, "minItems": 1, "maxItems": 2048}]});
    let fields = json!({
        input: inputs,
        "encoding_format": {"enum": ["float", "base64"]},
        "pooling": {"enum": ["mean", "last"]},
        "normalize": {"type": "boolean"},
    });
    body(&[input], &[fields])
}

fn flags(names: &[&str]) -> Value {
    Value::Object(names.iter().map(|name| ((*name).to_owned(), json!({"type": "boolean"}))).collect())
}
