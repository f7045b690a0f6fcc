//! The table of operations.

/// What can be done at a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    /// The schema of its body.
    pub(super) body: Option<&'static str>,
    pub(super) query: &'static [&'static str],
    /// The types of its answer.
    pub(super) types: &'static [&'static str],
    /// Whether its answer may be a list.
    pub(super) is_list: bool,
}

const JSON: &[&str] = &["application/json"];
const JSON_OR_EVENTS: &[&str] = &["application/json", "text/event-stream"];
const ANY_STREAM: &[&str] =
    &["application/json", "text/event-stream", "application/x-ndjson", "text/plain; charset=utf-8"];

const fn get(path: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation { method: "get", path, tag, summary, body: None, query: &[], types: JSON, is_list: false }
}

const fn post(path: &'static str, tag: &'static str, summary: &'static str, body: &'static str) -> Operation {
    Operation {
        method: "post",
        path,
        tag,
        summary,
        body: Some(body),
        query: &[],
        types: JSON,
        is_list: false,
    }
}

const fn streaming(operation: Operation, types: &'static [&'static str]) -> Operation {
    Operation { types, ..operation }
}

const fn list(operation: Operation) -> Operation {
    Operation { is_list: true, ..operation }
}

const fn asking(operation: Operation, query: &'static [&'static str]) -> Operation {
    Operation { query, ..operation }
}

/// All operations that are described.
pub(super) const OPERATIONS: &[Operation] = &[
    streaming(post("/v1/chat/completions", "OpenAI", "Answers messages", "Chat"), JSON_OR_EVENTS),
    streaming(post("/v1/completions", "OpenAI", "Continues a prompt", "Completion"), JSON_OR_EVENTS),
    post("/v1/embeddings", "OpenAI", "Embeds texts", "Embeddings"),
    get("/v1/models", "OpenAI", "The models by name"),
    get("/v1/models/{id}", "OpenAI", "A model"),
    get("/health", "State", "Whether the process is alive and not draining"),
    get("/ready", "State", "Whether the default model is loaded"),
    streaming(
        get("/metrics", "State", "Figures in the format of Prometheus"),
        &["text/plain; version=0.0.4; charset=utf-8"],
    ),
    asking(get("/model/info", "State", "What is known of a model"), &["model"]),
    get("/stats", "State", "What the engines do"),
    streaming(
        post(
            "/generate",
            "Documents",
            "Continues a prompt, or streams in the form that is accepted",
            "Generate",
        ),
        ANY_STREAM,
    ),
    streaming(
        post("/generate/stream", "Documents", "Continues a prompt as JSON lines, or as events", "Generate"),
        &["application/x-ndjson", "text/event-stream"],
    ),
    streaming(
        post("/solve/math", "Documents", "Solves a problem and tells the answer apart", "Problem"),
        ANY_STREAM,
    ),
    streaming(post("/solve/coding", "Documents", "Writes code and gives it apart", "Problem"), ANY_STREAM),
    post("/tokenize", "Texts", "The tokens of a text or of messages", "Tokenize"),
    get("/tokenizer_info", "Texts", "What the tokenizer marks texts with"),
    post("/detokenize", "Texts", "The text of tokens", "Detokenize"),
    post("/apply-template", "Texts", "The prompt that messages become", "Messages"),
    list(streaming(post("/completion", "llama.cpp", "Continues prompts", "LlamaCompletion"), JSON_OR_EVENTS)),
    list(streaming(post("/completions", "llama.cpp", "As /completion", "LlamaCompletion"), JSON_OR_EVENTS)),
    streaming(post("/chat/completions", "llama.cpp", "As /v1/chat/completions", "Chat"), JSON_OR_EVENTS),
    list(post("/embedding", "llama.cpp", "Embeds texts", "LlamaEmbedding")),
    list(post("/embeddings", "llama.cpp", "As /embedding", "LlamaEmbedding")),
    get("/models", "llama.cpp", "As /v1/models"),
    get("/v1/health", "llama.cpp", "As /health"),
    get("/props", "llama.cpp", "The default model, and the options of requests that set none"),
    list(get("/slots", "llama.cpp", "Which places for requests are taken")),
    get("/version", "Routers", "The version of the server"),
    get("/server_info", "Routers", "What the default model is and takes"),
    get("/get_server_info", "Routers", "As /server_info"),
    asking(get("/v1/loads", "Routers", "How busy the loaded models are"), &["include", "dp_rank"]),
    post("/v1/chat/completions/render", "Routers", "The tokens of a chat, which is not answered", "Chat"),
    list(post(
        "/v1/completions/render",
        "Routers",
        "The tokens of prompts, which are not continued",
        "Completion",
    )),
    get("/openapi.json", "State", "This document"),
    streaming(get("/docs", "State", "This document as a page"), &["text/html; charset=utf-8"]),
];
