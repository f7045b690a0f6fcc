//! The endpoints of SmallMind's original documents, over HTTP, from the demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use running::{Running, with};
use serde_json::{Value, json};

fn prompt() -> Value {
    json!({"prompt": "Once upon a time", "max_new_tokens": 12, "seed": 7})
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(lines: &[Value]) -> String {
    lines.iter().map(|line| line["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_prompt_is_continued_with_the_fields_of_both_documents() {
    let server = Running::start().await;
    let answer = server.json("/generate", &prompt()).await;
    assert_eq!(answer["prompt"], "Once upon a time");
    let text = answer["generated_text"].as_str().unwrap();
    assert!(!text.is_empty() && !text.contains("Once upon a time"), "{answer}");
    assert_eq!(answer["text"], text);
    assert_eq!((&answer["tokens_generated"], &answer["output_tokens"]), (&json!(12), &json!(12)));
    assert_eq!((&answer["finish_reason"], &answer["seed"]), (&json!("length"), &json!(7)));
    assert!(
        answer["generation_time"].as_f64().unwrap() > 0.0 && answer["input_tokens"].as_u64().unwrap() > 2
    );
    assert!(answer["metrics"]["total_ms"].as_f64().unwrap() > 0.0, "{answer}");
    assert!(answer.get("generated_texts").is_none(), "{answer}");
    let other =
        json!({"prompt": "Once upon a time", "maxTokens": 12, "seed": 7, "topK": 50, "temperature": 0.7});
    assert_eq!(server.json("/generate", &other).await["text"], text, "the other document's spelling");
    let several = server.json("/generate", &with(prompt(), json!({"num_return_sequences": 3}))).await;
    let all = several["generated_texts"].as_array().unwrap();
    assert_eq!((all.len(), &all[0], several["generated_text"].as_str()), (3, &json!(text), Some(text)));
    assert_eq!(several["tokens_generated"], 36);
    let greedy = json!({"prompt": "Once upon a time", "max_new_tokens": 12, "do_sample": false});
    let first = server.json("/generate", &with(greedy.clone(), json!({"seed": 1, "temperature": 2}))).await;
    assert_eq!(first["text"], server.json("/generate", &with(greedy, json!({"seed": 2}))).await["text"]);
    server.stop().await;
}

#[tokio::test]
async fn the_same_text_comes_as_events_as_lines_and_raw() {
    let server = Running::start().await;
    let text = server.json("/generate", &prompt()).await["text"].as_str().unwrap().to_owned();

    let raw = server.post("/generate", &with(prompt(), json!({"stream": true}))).await;
    assert_eq!(raw.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(raw.text().await.unwrap(), text);

    // Plain text holds one sequence.
    let two = with(prompt(), json!({"stream": true, "num_return_sequences": 2}));
    let several = server.post_accepting("*/*", "/generate", &two).await;
    assert_eq!(several.headers()["content-type"], "application/x-ndjson");
    assert_eq!(lines(&several.text().await.unwrap()).len(), 24);
    let refused = server.post_accepting("text/plain", "/generate", &two).await;
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("accept application/x-ndjson"));

    for (accept, path) in [("*/*", "/generate/stream"), ("application/x-ndjson", "/generate")] {
        let response = server.post_accepting(accept, path, &prompt()).await;
        assert_eq!(response.headers()["content-type"], "application/x-ndjson", "{path}");
        let lines = lines(&response.text().await.unwrap());
        assert_eq!((texts(&lines), lines.len()), (text.clone(), 12), "{path}");
        for (index, line) in lines.iter().enumerate() {
            assert_eq!(line["index"], index);
            assert!(line["token_id"].is_u64() && line["log_prob"].as_f64().unwrap() <= 0.0, "{line}");
            assert_eq!(line["finish_reason"].is_null(), index < 11, "{line}");
        }
    }

    for path in ["/generate", "/generate/stream"] {
        let events = server.post_accepting("text/event-stream", path, &prompt()).await;
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        let events = events.text().await.unwrap();
        let (tokens, done) = events.split_once("event: done\n").unwrap();
        let data = |text: &str| -> Vec<Value> {
            let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            data.map(|data| serde_json::from_str(data).unwrap()).collect()
        };
        assert_eq!(texts(&data(tokens)), text);
        assert_eq!(data(done)[0]["generated_text"], text, "the last event has the whole answer");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_first_line_arrives_while_the_rest_is_computed() {
    let server = Running::start().await;
    let body = json!({"prompt": "Once upon a time", "max_new_tokens": 900, "ignore_eos": true});
    let mut response = server.post("/generate/stream", &body).await;
    let first = response.chunk().await.unwrap().unwrap();
    assert!(first.iter().filter(|byte| **byte == b'\n').count() < 900);
    // Figures are published after the step that sent the line.
    let mut n_active = Value::Null;
    for _ in 0..600 {
        let stats: Value = server.get("/stats").await.json().await.unwrap();
        n_active = stats["active_sessions"].clone();
        if n_active == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(n_active, 1);
    drop(response);
    for _ in 0..600 {
        let stats: Value = server.get("/stats").await.json().await.unwrap();
        if stats["active_sessions"] == 0 {
            return server.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the request outlived its client by 3 seconds");
}

#[tokio::test]
async fn problems_are_solved_and_their_answers_told_apart() {
    let server = Running::start().await;
    let problem = json!({"problem": "Solve for x: 2x + 3 = 9", "temperature": 0});
    let solved = server.json("/solve/math", &problem).await;
    assert_eq!((&solved["problem"], &solved["answer"]), (&problem["problem"], &json!("3")), "{solved}");
    assert!(solved["solution"].as_str().unwrap().contains("2x = 6"), "{solved}");
    assert!(solved["generation_time"].as_f64().unwrap() > 0.0 && solved.get("prompt").is_none());
    let raw = server.post("/solve/math", &with(problem, json!({"stream": true}))).await.text().await.unwrap();
    assert_eq!(solved["solution"], raw);

    let problem =
        json!({"problem": "Write a Python function that returns the sum of a list.", "temperature": 0});
    let solved = server.json("/solve/coding", &problem).await;
    let code = solved["code"].as_str().unwrap();
    assert!(code.starts_with("def ") && !code.contains("```"), "{solved}");
    assert!(solved["solution"].as_str().unwrap().contains(code));
    server.stop().await;
}

#[tokio::test]
async fn errors_have_the_keys_of_both_documents() {
    let server = Running::start().await;
    let with = |fields| with(prompt(), fields);
    for (path, body, status, code, part) in [
        ("/generate", json!({}), 422, "VALIDATION_ERROR", "prompt: missing"),
        ("/solve/math", json!({"prompt": "a"}), 422, "VALIDATION_ERROR", "prompt: unknown field"),
        (
            "/generate",
            with(json!({"temperature": "hot"})),
            422,
            "VALIDATION_ERROR",
            "temperature: must be a number",
        ),
        ("/generate", with(json!({"temperature": -1})), 422, "VALIDATION_ERROR", "temperature"),
        ("/generate", json!([1]), 422, "VALIDATION_ERROR", "JSON object"),
        ("/generate", with(json!({"model": "gpt-9"})), 404, "UNKNOWN_MODEL", "gpt-9"),
        (
            "/generate",
            with(json!({"prompt": "word ".repeat(3000)})),
            400,
            "CONTEXT_LIMIT_EXCEEDED",
            "context",
        ),
        (
            "/generate",
            with(json!({"max_time_ms": 1, "max_new_tokens": 900, "ignore_eos": true})),
            504,
            "TIMEOUT",
            "",
        ),
        ("/detokenize", json!({"tokens": [99999]}), 422, "VALIDATION_ERROR", "99999"),
    ] {
        let response = server.post(path, &body).await;
        assert_eq!(response.status(), status, "{path} {body}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["detail"].as_str().unwrap().contains(part), "{error}");
        match status {
            504 => assert_eq!(error["error"], "Generation timeout"),
            _ => assert_eq!(error["error"], error["detail"]),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_model_and_the_engine_tell_of_themselves() {
    let server = Running::start().await;
    let info: Value = server.get("/model/info").await.json().await.unwrap();
    assert_eq!((&info["name"], &info["context_length"]), (&json!("demo"), &json!(1024)));
    assert!(info["vocab_size"].as_u64().unwrap() > 500 && info["weight_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(server.get("/model/info?model=gpt-4o").await.json::<Value>().await.unwrap()["name"], "demo");
    assert_eq!(server.get("/model/info?model=gpt-9").await.status(), 404);
    assert_eq!(server.get("/model/info?model=a&model=b").await.status(), 422);

    for _ in 0..2 {
        server
            .json(
                "/generate",
                &with(prompt(), json!({"prompt": "Once upon a time there was a cat. ".repeat(5)})),
            )
            .await;
    }
    let stats: Value = server.get("/stats").await.json().await.unwrap();
    assert_eq!(stats["engine_status"], "running");
    let memory = stats["memory_usage"].as_f64().unwrap();
    assert!(memory > 0.0 && memory <= 1.0, "{stats}");
    let cache = &stats["cache_info"];
    assert!(
        cache["num_entries"].as_u64().unwrap() > 0 && cache["reused_tokens"].as_u64().unwrap() > 0,
        "{stats}"
    );
    assert!(
        cache["hit_rate"].as_f64().unwrap() > 0.0 && cache["peak_bytes"].as_u64().unwrap() > 0,
        "{stats}"
    );
    for name in ["batch_processing_time", "tokens_per_second"] {
        let of = &stats["performance_metrics"][name];
        assert!(of["count"].as_u64().unwrap() > 0 && of["mean"].as_f64().unwrap() > 0.0, "{stats}");
        assert!(of["p50"].as_f64() <= of["p99"].as_f64(), "{stats}");
    }
    assert_eq!(stats["models"]["demo"]["engine_status"], "running");
    server.stop().await;
}

#[tokio::test]
async fn texts_become_tokens_and_texts_again() {
    let server = Running::start().await;
    let text = "Once upon a time, 17 + 25.";
    let tokenized = server.json("/tokenize", &json!({"content": text})).await;
    let tokens = tokenized["tokens"].as_array().unwrap();
    assert_eq!(tokenized["count"], tokens.len());
    assert_eq!(server.json("/detokenize", &json!({"tokens": tokens})).await["content"], text);
    let marked = server.json("/tokenize", &json!({"prompt": text, "return_token_strs": true})).await;
    assert_eq!(marked["count"], tokens.len() + 1, "the beginning of a sequence, as vLLM adds it");
    assert_eq!(marked["token_strs"].as_array().unwrap().len(), tokens.len() + 1);
    let pieces = server.json("/tokenize", &json!({"content": text, "with_pieces": true})).await;
    let pieces = pieces["tokens"].as_array().unwrap();
    let whole: String = pieces.iter().map(|token| token["piece"].as_str().unwrap()).collect();
    assert_eq!((whole.as_str(), &pieces[0]["id"]), (text, &tokens[0]));

    let messages = json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]);
    let rendered = server.json("/apply-template", &json!({"messages": messages})).await;
    let rendered = rendered["prompt"].as_str().unwrap();
    assert!(rendered.contains("Be kind.") && rendered.contains("Hi"), "{rendered}");
    let chat = server.json("/tokenize", &json!({"messages": messages})).await;
    let as_text = server.json("/tokenize", &json!({"content": rendered})).await;
    assert_eq!(chat["tokens"], as_text["tokens"]);
    let bare = json!({"messages": messages, "add_generation_prompt": false});
    let bare = server.json("/apply-template", &bare).await["prompt"].as_str().unwrap().to_owned();
    assert!(rendered.starts_with(&bare) && bare.len() < rendered.len(), "{bare}");
    server.stop().await;
}
