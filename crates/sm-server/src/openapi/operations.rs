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
    /// The types of its answer; none if it is always refused.
    pub(super) types: &'static [&'static str],
    /// Whether its answer may be a list.
    pub(super) is_list: bool,
}

const JSON: &[&str] = &["application/json"];
const JSON_OR_EVENTS: &[&str] = &["application/json", "text/event-stream"];
const LINES_OR_JSON: &[&str] = &["application/x-ndjson", "application/json"];
const PAGE: &[&str] = &["text/html; charset=utf-8"];
const PAGE_FILE: &[&str] = &[
    "application/json",
    "font/woff2",
    "image/svg+xml",
    "text/css; charset=utf-8",
    "text/html; charset=utf-8",
    "text/javascript; charset=utf-8",
    "text/plain; charset=utf-8",
];
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

const fn delete(path: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation { method: "delete", ..get(path, tag, summary) }
}

/// An operation without a body, which changes something.
const fn command(path: &'static str, tag: &'static str, summary: &'static str) -> Operation {
    Operation { method: "post", ..get(path, tag, summary) }
}

/// An operation that only says that it is not supported.
const fn refused(operation: Operation) -> Operation {
    Operation { types: &[], ..operation }
}

/// All operations.
pub(super) const OPERATIONS: &[Operation] = &[
    streaming(post("/v1/chat/completions", "OpenAI", "Answers messages", "Chat"), JSON_OR_EVENTS),
    streaming(post("/v1/completions", "OpenAI", "Continues a prompt", "Completion"), JSON_OR_EVENTS),
    post("/v1/chat/completions/input_tokens", "OpenAI", "Counts the tokens of messages", "Count"),
    post("/v1/embeddings", "OpenAI", "Embeds texts", "Embeddings"),
    streaming(post("/v1/responses", "OpenAI", "Answers items", "Response"), JSON_OR_EVENTS),
    post("/v1/responses/input_tokens", "OpenAI", "Counts the tokens of items", "Items"),
    get("/v1/responses/{id}", "OpenAI", "A response that was stored"),
    delete("/v1/responses/{id}", "OpenAI", "Forgets a response"),
    get("/v1/responses/{id}/input_items", "OpenAI", "The items of a response's request"),
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
    post("/apply-template", "Texts", "The prompt that messages become", "Template"),
    list(streaming(post("/completion", "llama.cpp", "Continues prompts", "LlamaCompletion"), JSON_OR_EVENTS)),
    list(streaming(post("/completions", "llama.cpp", "As /completion", "LlamaCompletion"), JSON_OR_EVENTS)),
    streaming(post("/chat/completions", "llama.cpp", "As /v1/chat/completions", "Chat"), JSON_OR_EVENTS),
    list(post("/embedding", "llama.cpp", "Embeds texts", "LlamaEmbedding")),
    list(post("/embeddings", "llama.cpp", "As /embedding", "LlamaEmbedding")),
    post("/chat/completions/input_tokens", "llama.cpp", "As /v1/chat/completions/input_tokens", "Count"),
    streaming(post("/responses", "llama.cpp", "As /v1/responses", "Response"), JSON_OR_EVENTS),
    post("/predict", "llama.cpp", "Answers several chats, as Vertex AI sends them", "Instances"),
    streaming(
        post(
            "/invocations",
            "State",
            "Answers messages or continues a prompt, as SageMaker sends it",
            "Invocation",
        ),
        JSON_OR_EVENTS,
    ),
    get("/ping", "State", "As /ready, where SageMaker asks"),
    get("/models", "llama.cpp", "As /v1/models"),
    get("/v1/health", "llama.cpp", "As /health"),
    get("/props", "llama.cpp", "The default model, and the options of requests that set none"),
    streaming(post("/infill", "llama.cpp", "Fills the gap between two texts", "LlamaInfill"), JSON_OR_EVENTS),
    list(get("/slots", "llama.cpp", "Which places for requests are taken")),
    refused(asking(command("/slots/{id}", "llama.cpp", "Not supported"), &["action"])),
    get("/version", "Routers", "The version of the server"),
    get("/server_info", "Routers", "What the default model is and takes"),
    get("/get_server_info", "Routers", "As /server_info"),
    get("/get_load", "Routers", "How many requests run or wait"),
    get("/model_info", "Routers", "What the default model is"),
    get("/get_model_info", "Routers", "As /model_info"),
    streaming(
        asking(
            get("/v1/loads", "Routers", "How busy the loaded models are"),
            &["include", "dp_rank", "format"],
        ),
        &["application/json", "text/plain; version=0.0.4; charset=utf-8"],
    ),
    post(
        "/v1/chat/completions/render",
        "Routers",
        "The tokens of a chat, which is not answered",
        "ChatToRender",
    ),
    list(post(
        "/v1/completions/render",
        "Routers",
        "The tokens of prompts, which are not continued",
        "CompletionToRender",
    )),
    get("/openapi.json", "State", "This document"),
    streaming(get("/docs", "State", "This document as a page"), PAGE),
    streaming(get("/", "State", "The page for people; Ollama's clients ask whether it is there"), PAGE),
    streaming(get("/ui/{file}", "State", "A file of the page"), PAGE_FILE),
    streaming(post("/v1/messages", "Anthropic", "Answers messages", "Messages"), JSON_OR_EVENTS),
    post("/v1/messages/count_tokens", "Anthropic", "Counts the tokens of messages", "MessageCount"),
    get("/api/version", "Ollama", "The version of the API"),
    streaming(post("/api/chat", "Ollama", "Answers messages", "OllamaChat"), LINES_OR_JSON),
    streaming(
        post("/api/generate", "Ollama", "Answers or continues a prompt", "OllamaGenerate"),
        LINES_OR_JSON,
    ),
    get("/api/tags", "Ollama", "The models by name"),
    get("/api/ps", "Ollama", "The models that are loaded"),
    post("/api/show", "Ollama", "What is known of a model; loads it", "OllamaModel"),
    post("/api/embed", "Ollama", "Embeds texts, as vectors of length 1", "OllamaEmbed"),
    post("/api/embeddings", "Ollama", "Embeds a text", "OllamaEmbedding"),
    streaming(
        post("/api/pull", "Ollama", "Fetches a model; succeeds for those that are here", "OllamaPull"),
        LINES_OR_JSON,
    ),
    refused(delete("/api/delete", "Ollama", "Not supported")),
    refused(command("/api/create", "Ollama", "Not supported")),
    refused(command("/api/copy", "Ollama", "Not supported")),
    refused(command("/api/push", "Ollama", "Not supported")),
    refused(command("/api/blobs/{digest}", "Ollama", "Not supported")),
    get("/admin/models", "Administration", "All models, with their states and memory"),
    post(
        "/admin/models/load",
        "Administration",
        "Loads a model, and answers when it is loaded",
        "AdminModel",
    ),
    post("/admin/models/unload", "Administration", "Unloads a model", "AdminUnload"),
    command("/admin/drain", "Administration", "Refuses new requests"),
    command("/admin/resume", "Administration", "Takes requests again"),
    post("/admin/log-level", "Administration", "Changes what is logged", "AdminLevel"),
    command("/admin/cache/reset", "Administration", "Forgets cached answers and prefixes"),
    post("/admin/reconfigure", "Administration", "Changes an engine without a restart", "AdminReconfigure"),
];
