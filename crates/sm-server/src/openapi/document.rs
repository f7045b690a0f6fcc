//! The document, of the table of operations.

use serde_json::{Map, Value, json};

use super::operations::{OPERATIONS, Operation};
use super::schemas::{self, Bounds};

/// The OpenAPI document of a server.
pub(crate) fn document(bounds: Bounds) -> Value {
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
            "schemas": schemas::all(bounds),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        // A server without keys needs none.
        "security": [{}, {"bearer": []}, {"key": []}],
    })
}

/// Why there may be no answer.
const FAILURES: [(&str, &str); 14] = [
    ("400", "The request is wrong, or asks for more than there is."),
    ("401", "A key is missing or wrong."),
    ("403", "The key may not do this."),
    ("404", "There is no such model or object."),
    ("405", "The path does not take this method; `Allow` lists those that it takes."),
    ("408", "The body did not arrive in time."),
    ("413", "The body is too large."),
    ("415", "The body has a type or a compression that is not read."),
    ("422", "The body has the wrong form, in the words of the original documents."),
    ("429", "The queue is full, or a limit of the key is used up; `Retry-After` says when to come again."),
    ("500", "The server failed."),
    ("501", "This server does not do that."),
    ("503", "The server is not ready, or shuts down; `Retry-After` says when to come again."),
    ("504", "The request took too long."),
];

fn described(operation: &Operation) -> Value {
    let mut responses = Map::new();
    if !operation.types.is_empty() {
        responses
            .insert("200".to_owned(), json!({"description": "The answer.", "content": contents(operation)}));
    }
    for (status, description) in FAILURES {
        let schema = match (operation.tag, status) {
            // Whether the server is ready is an answer, too.
            ("State" | "llama.cpp", "503") => json!({"type": "object"}),
            _ => json!({"$ref": format!("#/components/schemas/{}", schemas::error(operation.path))}),
        };
        let content = json!({"application/json": {"schema": schema}});
        responses.insert(status.to_owned(), json!({"description": description, "content": content}));
    }
    // Headers that are too long are refused before anything is known of the request.
    responses.insert("431".to_owned(), json!({"description": "The headers are too long."}));
    let mut described = json!({
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": id(operation),
        "responses": responses,
    });
    if let Some(body) = operation.body {
        described["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{body}")}}},
        });
    }
    if operation.path.starts_with("/admin/") {
        described["security"] = json!([{"bearer": []}, {"key": []}]);
    }
    let parameters: Vec<Value> = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .chain(operation.query.iter().map(|name| json!({"name": name, "in": "query", "schema": query(name)})))
        .collect();
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    described
}

/// The schema of a parameter of a query.
fn query(name: &str) -> Value {
    match name {
        "action" => json!({"enum": ["save", "restore", "erase"]}),
        "format" => json!({"enum": ["json", "prometheus"]}),
        "dp_rank" => json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
        "include" => {
            let section = "(all|core|disagg|lora|memory|queues|spec)";
            json!({"type": "string", "pattern": format!("^({section}(,{section})*)?$")})
        }
        _ => json!({"type": "string"}),
    }
}

fn contents(operation: &Operation) -> Value {
    let types = operation.types.iter();
    let content = |kind: &&str| {
        let schema = match *kind {
            "application/json" if operation.is_list => json!({"type": ["array", "object"]}),
            "application/json" => json!({"type": "object"}),
            // Of each event.
            "text/event-stream" => json!({}),
            _ => json!({"type": "string"}),
        };
        ((*kind).to_owned(), json!({"schema": schema}))
    };
    Value::Object(types.map(content).collect())
}

/// `post_v1_chat_completions`; an underscore of the path is doubled, since there are `/model/info` and `/model_info`.
fn id(operation: &Operation) -> String {
    let mut id = operation.method.to_owned();
    for c in operation.path.trim_end_matches('}').chars() {
        id.push(if c.is_ascii_alphanumeric() { c } else { '_' });
        id.extend((c == '_').then_some('_'));
    }
    id
}
