//! The schemas of bodies. Fields that many endpoints share are written once; docs/server.md tells of their other names.

mod apis;
mod fields;

use serde_json::{Map, Value, json};

use crate::error::Envelope;
use crate::wire::fields::MAX_PROMPTS;
use fields::{body, count, flags, inputs, messages, prompt, sampling};

/// What bodies can ask of the default model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The largest token.
    pub(crate) max_token: u64,
    /// The most choices.
    pub(crate) max_choices: u64,
    /// The most values of an embedding.
    pub(crate) max_dimensions: u64,
    /// The most likely tokens at each position.
    pub(crate) max_logprobs: u64,
}

impl Default for Bounds {
    /// Those of a model of which nothing is known yet.
    fn default() -> Self {
        Self {
            max_token: u32::MAX.into(),
            max_choices: 128,
            max_dimensions: u64::MAX,
            max_logprobs: u64::MAX,
        }
    }
}

/// All schemas by name.
pub(super) fn all(bounds: Bounds) -> Value {
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| _ = schemas.insert(name.to_owned(), schema);
    let token = count(0, bounds.max_token);
    let choices = count(1, bounds.max_choices);
    add("Message", fields::message());
    add("Chat", body(&["messages"], &[messages(), sampling(), openai(&choices)]));
    add("Count", body(&["messages"], &[messages()]));
    let any_choices = count(1, u64::MAX);
    add("ChatToRender", body(&["messages"], &[messages(), sampling(), openai(&any_choices)]));
    add(
        "CompletionToRender",
        body(
            &["prompt"],
            &[json!({"prompt": prompt(&count(0, u32::MAX.into()))}), sampling(), openai(&any_choices)],
        ),
    );
    add("Completion", body(&["prompt"], &[json!({"prompt": prompt(&token)}), sampling(), openai(&choices)]));
    add("Embeddings", embeddings("input", &token));
    add("LlamaEmbedding", embeddings("content", &token));
    add(
        "Generate",
        body(&["prompt"], &[json!({"prompt": {"type": "string"}}), sampling(), documents(&choices)]),
    );
    add(
        "Problem",
        body(
            &["problem"],
            &[
                json!({"problem": {"type": "string"}}),
                flags(&["enable_thinking"]),
                sampling(),
                documents(&choices),
            ],
        ),
    );
    add(
        "LlamaCompletion",
        body(
            &["prompt"],
            &[json!({"prompt": {"type": "string"}}), sampling(), llamacpp(bounds.max_logprobs)],
        ),
    );
    add("LlamaInfill", infill(bounds.max_logprobs));
    let text = json!({"content": {"type": "string"}});
    let forms = flags(&["add_special", "parse_special", "with_pieces", "return_token_strs"]);
    add("Tokenize", body(&["content"], &[text, forms]));
    let tokens = json!({"tokens": {"type": "array", "items": token}});
    add("Detokenize", body(&["tokens"], &[tokens, flags(&["skip_special_tokens"])]));
    add("Template", body(&["messages"], &[messages(), flags(&["add_generation_prompt"])]));
    let instances = json!({"instances": {"type": "array", "maxItems": MAX_PROMPTS, "items": {
        "$ref": "#/components/schemas/Chat",
    }}});
    add("Instances", json!({"type": "object", "required": ["instances"], "properties": instances}));
    let bodies = ["Chat", "Completion"].map(|name| json!({"$ref": format!("#/components/schemas/{name}")}));
    add("Invocation", json!({"anyOf": bodies}));
    apis::add(&mut add, &token, bounds.max_dimensions);
    Value::Object(schemas)
}

/// The schema of the errors at a path.
pub(super) fn error(path: &str) -> &'static str {
    match Envelope::of_path(path) {
        Envelope::OpenAi => "Error",
        Envelope::Anthropic => "AnthropicError",
        Envelope::Ollama => "OllamaError",
        Envelope::Documents => "DocumentsError",
        Envelope::LlamaCpp => "LlamaCppError",
    }
}

fn openai(choices: &Value) -> Value {
    json!({"n": choices, "user": {}})
}

fn documents(choices: &Value) -> Value {
    json!({
        "do_sample": {"type": "boolean"},
        "num_return_sequences": choices,
        "repetition_penalty": {"type": "number", "minimum": 0.01, "maximum": 100},
        "priority": {"enum": ["low", "normal", "high", "critical"]},
    })
}

fn llamacpp(max_logprobs: u64) -> Value {
    let mut fields = flags(&["return_tokens", "cache_prompt", "timings_per_token", "return_progress"]);
    fields["n_probs"] = count(0, max_logprobs);
    fields
}

fn infill(max_logprobs: u64) -> Value {
    let text = json!({"type": "string"});
    let chunk =
        json!({"type": "object", "required": ["text"], "properties": {"filename": text, "text": text}});
    let fields = json!({
        "input_prefix": text,
        "input_suffix": text,
        "input_extra": {"type": "array", "items": chunk},
        "prompt": text,
    });
    body(&["input_prefix", "input_suffix"], &[fields, sampling(), llamacpp(max_logprobs)])
}

fn embeddings(input: &str, token: &Value) -> Value {
    let fields = json!({
        input: inputs(token),
        "encoding_format": {"enum": ["float", "base64"]},
        "pooling": {"enum": ["mean", "last"]},
        "normalize": {"type": "boolean"},
    });
    body(&[input], &[fields])
}
