//! The document, of the table of operations.

use serde_json::{Map, Value, json};

use super::operations::{OPERATIONS, Operation};
use super::schemas;

/// The OpenAPI document of the server.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "SmallMind",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs language models. OpenAI's, Ollama's and llama.cpp's clients work unchanged.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        // A server without keys needs none.
        "security": [{}, {"bearer": []}, {"key": []}],
    })
}

fn described(operation: &Operation) -> Value {
    let mut described = json!({
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": id(operation),
        "responses": {
            "200": {"description": "The answer.", "content": contents(operation)},
            "default": {
                "description": "Why there is no answer: 400 or 422 of a body that is wrong, 401 or 403 of a key, 404 of an unknown model, 413 of a body that is too large, 429 of a full queue or a rate, 501 of what this server does not do, 503 of a server that is not ready, 504 of a request that took too long.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    });
    if let Some(body) = operation.body {
        described["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{body}")}}},
        });
    }
    let parameters: Vec<Value> = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .chain(operation.query.iter().map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})))
        .collect();
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    described
}

fn contents(operation: &Operation) -> Value {
    let types = operation.types.iter();
    let content = |kind: &&str| {
        let schema = match *kind {
            "application/json" if operation.is_list => json!({"type": ["array", "object"]}),
            "application/json" => json!({"type": "object"}),
            _ => json!({"type": "string"}),
        };
        ((*kind).to_owned(), json!({"schema": schema}))
    };
    Value::Object(types.map(content).collect())
}

/// `post_v1_chat_completions`
fn id(operation: &Operation) -> String {
    let path: String =
        operation.path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("{}{}", operation.method, path.trim_end_matches('_'))
}
