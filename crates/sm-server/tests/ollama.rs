//! What clients of Ollama's API get: the forms of <https://docs.ollama.com/api>, from the demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use running::{Running, schema, with};
use serde_json::{Value, json};
use sm_runtime::{EngineConfig, ExecutorOptions, ModelRef, ModelSpec};
use sm_server::{ModelSource, PullError, PullProgress};

const QUESTION: &str = "Solve for x: 2x + 3 = 9";

fn chat() -> Value {
    json!({
        "model": "demo",
        "messages": [{"role": "user", "content": QUESTION}],
        "options": {"temperature": 0},
    })
}

fn generate() -> Value {
    json!({"model": "demo:latest", "prompt": QUESTION, "options": {"temperature": 0}, "stream": false})
}

#[tokio::test]
async fn a_chat_streams_lines_of_the_same_text_as_its_answer_at_once() {
    let server = Running::start().await;
    let answer = server.json("/api/chat", &with(chat(), json!({"stream": false}))).await;
    let text = answer["message"]["content"].as_str().unwrap();
    assert!(text.contains("Answer: 3"), "{answer}");
    assert_eq!((&answer["model"], &answer["done"]), (&json!("demo"), &json!(true)));
    assert_eq!((&answer["done_reason"], &answer["message"]["role"]), (&json!("stop"), &json!("assistant")));
    for count in [
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ] {
        assert!(answer[count].is_u64(), "{count}: {answer}");
    }
    assert!(answer["created_at"].as_str().unwrap().ends_with('Z'));

    let lines = server.lines("/api/chat", &chat()).await;
    let [parts @ .., last] = &lines[..] else { panic!("{lines:?}") };
    let streamed: String = parts.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(streamed, text);
    assert!(parts.len() > 3 && parts.iter().all(|line| line["done"] == false));
    assert_eq!((&last["done"], &last["message"]["content"]), (&json!(true), &json!("")));
    assert_eq!(last["eval_count"], answer["eval_count"]);
    server.stop().await;
}

#[tokio::test]
async fn a_prompt_is_answered_and_its_context_goes_on() {
    let server = Running::start().await;
    let first = server.json("/api/generate", &generate()).await;
    assert!(first["response"].as_str().unwrap().contains("Answer: 3"), "{first}");
    assert_eq!(first["model"], "demo:latest");
    let context = first["context"].as_array().unwrap();
    assert_eq!(
        context.len() as u64,
        first["prompt_eval_count"].as_u64().unwrap() + first["eval_count"].as_u64().unwrap()
    );
    // The second turn is what a chat of both turns is.
    let more = json!({"prompt": "What is 17 + 25?", "context": context});
    let second = server.json("/api/generate", &with(generate(), more)).await;
    let messages = json!([
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": first["response"]},
        {"role": "user", "content": "What is 17 + 25?"},
    ]);
    let same = server.json("/api/chat", &with(chat(), json!({"messages": messages, "stream": false}))).await;
    assert_eq!(second["response"], same["message"]["content"]);
    assert_eq!(second["prompt_eval_count"], same["prompt_eval_count"]);
    server.stop().await;
}

#[tokio::test]
async fn a_raw_prompt_is_continued_as_it_is_and_has_no_context() {
    let server = Running::start().await;
    let raw =
        json!({"prompt": "Once upon a time", "raw": true, "options": {"temperature": 0, "num_predict": 12}});
    let answer = server.json("/api/generate", &with(generate(), raw)).await;
    assert_eq!((&answer["eval_count"], &answer["done_reason"]), (&json!(12), &json!("length")));
    assert_eq!(answer.get("context"), None);
    let same = json!({"prompt": "Once upon a time", "temperature": 0, "max_tokens": 12});
    let same = server.json("/v1/completions", &same).await;
    assert_eq!(answer["response"], same["choices"][0]["text"]);
    server.stop().await;
}

#[tokio::test]
async fn formats_are_json_or_what_a_schema_says() {
    let server = Running::start().await;
    let body = with(chat(), json!({"format": schema(), "stream": false}));
    let answer = server.json("/api/chat", &body).await;
    let value: Value = serde_json::from_str(answer["message"]["content"].as_str().unwrap()).unwrap();
    assert!(value["x"].is_i64(), "{value}");
    let raw = json!({"raw": true, "format": schema()});
    let answer = server.json("/api/generate", &with(generate(), raw)).await;
    assert!(serde_json::from_str::<Value>(answer["response"].as_str().unwrap()).unwrap()["x"].is_i64());
    server.stop().await;
}

#[tokio::test]
async fn log_probabilities_come_with_the_text_they_belong_to() {
    let server = Running::start().await;
    let body = with(chat(), json!({"logprobs": true, "top_logprobs": 2}));
    let whole = server.json("/api/chat", &with(body.clone(), json!({"stream": false}))).await;
    let whole = whole["logprobs"].as_array().unwrap();
    assert_eq!(whole[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert!(whole[0]["bytes"].is_array() && whole[0]["logprob"].is_f64());
    let lines = server.lines("/api/chat", &body).await;
    let parts = lines.iter().filter_map(|line| line["logprobs"].as_array()).flatten();
    assert_eq!(parts.collect::<Vec<_>>(), whole.iter().collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn models_are_listed_shown_and_unloaded() {
    let server = Running::start().await;
    server.json("/api/chat", &with(chat(), json!({"stream": false, "keep_alive": "10m"}))).await;
    let tags: Value = server.get("/api/tags").await.json().await.unwrap();
    let names: Vec<&str> =
        tags["models"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["demo:latest", "gpt-4o:latest"]);
    let demo = &tags["models"][0];
    assert_eq!((&demo["model"], &demo["details"]["family"]), (&json!("demo:latest"), &json!("qwen3")));
    assert_eq!(demo["details"]["parameter_size"], "3.5M");
    assert_eq!(demo["details"]["quantization_level"].as_str().unwrap().to_lowercase(), "q8_0");
    assert!(demo["size"].as_u64().unwrap() > 1_000_000 && demo["digest"].as_str().unwrap().len() == 64);

    let shown = server.json("/api/show", &json!({"model": "demo"})).await;
    assert_eq!(shown["model_info"]["general.architecture"], "qwen3");
    assert_eq!(shown["model_info"]["qwen3.context_length"], 1024);
    assert_eq!(shown["capabilities"], json!(["completion"]));
    assert!(shown["template"].as_str().unwrap().contains("messages"));

    let running: Value = server.get("/api/ps").await.json().await.unwrap();
    assert_eq!(running["models"][0]["context_length"], 1024);
    let unloaded =
        server.json("/api/generate", &json!({"model": "demo", "keep_alive": 0, "stream": false})).await;
    assert_eq!((&unloaded["done_reason"], &unloaded["response"]), (&json!("unload"), &json!("")));
    for _ in 0..500 {
        let running: Value = server.get("/api/ps").await.json().await.unwrap();
        if running["models"] == json!([]) {
            let loaded = server.lines("/api/generate", &json!({"model": "demo"})).await;
            assert_eq!((loaded.len(), &loaded[0]["done_reason"]), (1, &json!("load")));
            return server.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the model was not unloaded within 10 seconds");
}

#[tokio::test]
async fn a_pinned_model_stays_whatever_a_client_says() {
    let server = Running::of(ModelRef::Demo, |config| config.pinned_models(vec!["gpt-4o".to_owned()])).await;
    let unloaded = json!({"model": "demo", "keep_alive": 0, "stream": false});
    assert_eq!(server.json("/api/generate", &unloaded).await["done_reason"], "load");
    server.json("/api/chat", &with(chat(), json!({"keep_alive": 0, "stream": false}))).await;
    // Far longer than an unload takes to begin.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let running: Value = server.get("/api/ps").await.json().await.unwrap();
    assert_eq!(running["models"][0]["name"], "demo:latest");
    server.stop().await;
}

#[tokio::test]
async fn texts_are_embedded_as_by_openais_endpoint() {
    let server = Running::start().await;
    let texts = json!(["Once upon a time", "What is 17 + 25?"]);
    let expected = server.json("/v1/embeddings", &json!({ "input": texts })).await;
    let answer =
        server.json("/api/embed", &json!({"model": "demo:latest", "input": texts, "truncate": true})).await;
    for index in 0..2 {
        assert_eq!(answer["embeddings"][index], expected["data"][index]["embedding"]);
    }
    assert_eq!(answer["model"], "demo:latest");
    assert_eq!(answer["prompt_eval_count"], expected["usage"]["prompt_tokens"]);
    assert!(answer["total_duration"].is_u64() && answer["load_duration"].is_u64());
    let short = json!({"model": "demo", "input": texts[0], "dimensions": 8});
    assert_eq!(server.json("/api/embed", &short).await["embeddings"][0].as_array().unwrap().len(), 8);
    // Old clients get vectors of any length.
    let raw = server.json("/v1/embeddings", &json!({"input": texts[0], "normalize": false})).await;
    let old = server.json("/api/embeddings", &json!({"model": "demo", "prompt": texts[0]})).await;
    assert_eq!(old["embedding"], raw["data"][0]["embedding"]);
    assert_eq!(
        server.json("/api/embed", &json!({"model": "demo", "input": []})).await["embeddings"],
        json!([])
    );
    server.stop().await;
}

/// Has one model, which takes two reports to come.
#[derive(Debug)]
struct Shelf;

impl ModelSource for Shelf {
    fn pull(
        &self,
        name: &str,
        report: &mut dyn FnMut(PullProgress<'_>) -> ControlFlow<()>,
    ) -> Result<ModelSpec, PullError> {
        if name != "org/small" {
            return Err(PullError::Unknown(format!("there is no {name}")));
        }
        for done_bytes in [0, 1000] {
            _ = report(PullProgress { file: "model.gguf", done_bytes, total_bytes: 1000 });
        }
        let engine = EngineConfig::new().executor(ExecutorOptions::new().pool_bytes(48 << 20));
        Ok(ModelSpec::new(ModelRef::DemoDraft).config(engine))
    }
}

#[tokio::test]
async fn a_model_that_was_pulled_is_served() {
    let server = Running::of(ModelRef::Demo, |config| config.model_source(Some(Arc::new(Shelf)))).await;
    let lines = server.lines("/api/pull", &json!({"model": "org/small"})).await;
    let statuses: Vec<&str> = lines.iter().map(|line| line["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["pulling manifest", "pulling model.gguf", "pulling model.gguf", "success"]);
    assert_eq!((&lines[2]["completed"], &lines[2]["total"]), (&json!(1000), &json!(1000)));
    let body =
        json!({"model": "org/small", "prompt": "Once", "stream": false, "options": {"num_predict": 2}});
    assert_eq!(server.json("/api/generate", &body).await["eval_count"], 2);
    // Now it is there.
    let again = server.json("/api/pull", &json!({"model": "org/small", "stream": false})).await;
    assert_eq!(again, json!({"status": "success"}));
    let missing = json!({"model": "org/none", "stream": false});
    let refused = server.post("/api/pull", &missing).await;
    assert_eq!(refused.status(), 404);
    assert!(refused.text().await.unwrap().contains("there is no org/none"));
    let lines = server.lines("/api/pull", &json!({"model": "org/none"})).await;
    assert!(lines.last().unwrap()["error"].as_str().unwrap().contains("there is no org/none"));
    server.stop().await;
}

/// A hub that is so slow that no model arrives before it is told so.
#[derive(Debug, Default)]
struct SlowHub {
    is_open: AtomicBool,
}

impl ModelSource for SlowHub {
    fn pull(
        &self,
        name: &str,
        report: &mut dyn FnMut(PullProgress<'_>) -> ControlFlow<()>,
    ) -> Result<ModelSpec, PullError> {
        while !self.is_open.load(Ordering::Relaxed) {
            if report(PullProgress { file: name, done_bytes: 0, total_bytes: 1 }).is_break() {
                return Err(PullError::Failed("nobody waits".to_owned()));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(ModelSpec::new(ModelRef::DemoDraft))
    }
}

#[tokio::test]
async fn only_so_many_models_are_pulled_at_a_time() {
    let hub = Arc::new(SlowHub::default());
    let source = Arc::clone(&hub);
    let server = Running::of(ModelRef::Demo, |config| config.model_source(Some(source))).await;
    let pull = |name: &str| server.posting("/api/pull", &json!({"model": format!("org/{name}")}));
    let mut pulls = Vec::new();
    for name in ["a", "b", "c", "d"] {
        pulls.push(pull(name).send().await.unwrap());
    }
    let refused = pull("e").send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert!(refused.text().await.unwrap().contains("as many models as may are being pulled"));
    // Other requests go on meanwhile, and so does a pull of what is there.
    assert_eq!(
        server.json("/api/pull", &json!({"model": "demo", "stream": false})).await["status"],
        "success"
    );
    // A client that goes away makes room.
    drop(pulls.pop());
    let next = loop {
        let next = pull("e").send().await.unwrap();
        if next.status() == 200 {
            break next;
        }
        assert_eq!(next.status(), 429);
    };
    hub.is_open.store(true, Ordering::Relaxed);
    for pulled in pulls.into_iter().chain([next]) {
        let lines = pulled.text().await.unwrap();
        assert_eq!(lines.lines().last(), Some(r#"{"status":"success"}"#), "{lines}");
    }
    let tags: Value = server.get("/api/tags").await.json().await.unwrap();
    let names = tags["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap());
    let pulled: Vec<&str> = names.filter(|name| name.starts_with("org/")).collect();
    assert_eq!(pulled, ["org/a:latest", "org/b:latest", "org/c:latest", "org/e:latest"]);
    server.stop().await;
}

#[tokio::test]
async fn clients_find_out_that_it_runs() {
    let server = Running::start().await;
    assert!(server.get("/").await.text().await.unwrap().contains("Ollama is running"));
    assert_eq!(server.client.head(server.url("/")).send().await.unwrap().status(), 200);
    let version: Value = server.get("/api/version").await.json().await.unwrap();
    let parts: Vec<u32> =
        version["version"].as_str().unwrap().split('.').map(|n| n.parse().unwrap()).collect();
    assert!(parts >= vec![0, 13, 4], "{version}");
    let pulled = server.lines("/api/pull", &json!({"model": "demo"})).await;
    assert_eq!(pulled.last().unwrap(), &json!({"status": "success"}));
    server.stop().await;
}

#[tokio::test]
async fn errors_are_a_text_with_the_name_of_the_field() {
    let server = Running::start().await;
    for (path, body, status, part) in [
        ("/api/chat", json!({"model": "llama3"}), 404, "model 'llama3' not found"),
        ("/api/chat", with(chat(), json!({"options": {"tempratur": 1}})), 400, "options.tempratur: unknown"),
        ("/api/chat", with(chat(), json!({"messages": [{"content": "?"}]})), 400, "role"),
        ("/api/chat", with(chat(), json!({"think": true})), 400, "does not support thinking"),
        ("/api/chat", with(chat(), json!({"options": {"num_ctx": 4}})), 400, "context"),
        ("/api/generate", json!([1]), 400, "must be a JSON object"),
        ("/api/generate", with(generate(), json!({"suffix": "end"})), 400, "suffix"),
        ("/api/pull", json!({"model": "llama3"}), 404, "downloads no models"),
        ("/api/embed", json!({"model": "demo", "input": 7}), 400, "input: must be"),
        (
            "/api/embed",
            json!({"model": "demo", "dimensions": 257}),
            400,
            "dimensions: 257 is more than the model's 256",
        ),
        ("/api/embed", json!({"model": "demo", "prompt": "a"}), 400, "prompt: unknown field"),
        ("/api/embeddings", json!({"model": "demo", "prompt": [1.5]}), 400, "prompt: must be"),
        ("/api/copy", json!({}), 501, "does not copy models"),
        ("/api/nonsense", json!({}), 404, "there is no POST /api/nonsense"),
    ] {
        let response = server.post(path, &body).await;
        assert_eq!(response.status(), status, "{path} {body}");
        let error: Value = response.json().await.unwrap();
        assert!(error["error"].as_str().unwrap().contains(part), "{error}");
    }
    server.stop().await;
}
