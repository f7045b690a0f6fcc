//! What routers ask a replica, over HTTP, of the demo model.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use running::{Running, with};
use serde_json::{Value, json};

async fn get(server: &Running, path: &str) -> Value {
    server.get(path).await.json().await.unwrap()
}

#[tokio::test]
async fn prompts_are_rendered_to_the_tokens_that_they_are_answered_from() {
    let server = Running::with_tools().await;
    let tools =
        json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    let chat =
        json!({"model": "demo", "messages": [{"role": "user", "content": "Weather?"}], "tools": tools});
    let rendered = server.json("/v1/chat/completions/render", &chat).await;
    let answered = json!({"return_token_ids": true, "max_tokens": 1});
    let answer = server.json("/v1/chat/completions", &with(chat, answered.clone())).await;
    assert_eq!((&rendered["token_ids"], &rendered["model"]), (&answer["prompt_token_ids"], &json!("demo")));
    assert!(rendered["request_id"].as_str().unwrap().starts_with("chatcmpl-"));

    let texts = json!({"prompt": ["Once upon a time", [5, 6, 7]]});
    let rendered = server.json("/v1/completions/render", &texts).await;
    let answer = server.json("/v1/completions", &with(texts, answered)).await;
    for index in 0..2 {
        assert_eq!(rendered[index]["token_ids"], answer["choices"][index]["prompt_token_ids"]);
    }
    let info = get(&server, "/tokenizer_info").await;
    let eos =
        server.json("/tokenize", &json!({"prompt": info["eos_token"], "add_special_tokens": false})).await;
    assert_eq!(eos["count"], 1, "{info}");
    // The same errors as those of the request itself.
    let wrong = json!({"prompt": "a", "nonsense": 1});
    assert_eq!(server.post("/v1/completions/render", &wrong).await.status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn a_replica_says_what_it_is_and_how_busy_it_is() {
    let server = Running::start().await;
    let version = get(&server, "/version").await["version"].as_str().unwrap().to_owned();
    let info = get(&server, "/server_info").await;
    assert_eq!((&info["served_model_name"], &info["version"]), (&json!("demo"), &json!(version)));
    assert_eq!((&info["context_length"], &info["block_size"]), (&json!(1024), &json!(16)));
    assert_eq!(get(&server, "/get_server_info").await, info);
    let model = get(&server, "/v1/models/demo").await;
    assert_eq!(model["max_model_len"], 1024);

    let load = get(&server, "/v1/loads?include=core,queues,memory").await["loads"][0].clone();
    assert_eq!(
        (&load["num_running_reqs"], &load["num_waiting_reqs"], &load["dp_rank"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(load["memory"]["weight_gb"].as_f64().unwrap() > 0.0 && load["queues"]["waiting"] == 0, "{load}");
    assert_eq!(load["max_total_num_tokens"], info["max_total_num_tokens"]);
    let core = get(&server, "/v1/loads?include=core").await;
    assert!(core["loads"][0].get("memory").is_none(), "{core}");
    assert_eq!(server.get("/v1/loads?include=nonsense").await.status(), 400);

    let story = json!({"prompt": "Once", "max_tokens": 900, "ignore_eos": true, "stream": true});
    let mut running = server.post("/v1/completions", &story).await;
    // A step tells its figures after its tokens, so those of the first are there with the tokens of the next.
    for _ in 0..3 {
        running.chunk().await.unwrap();
    }
    let busy = get(&server, "/v1/loads").await["loads"][0].clone();
    assert!(busy["num_running_reqs"] == 1 && busy["token_usage"].as_f64().unwrap() > 0.0, "{busy}");
    drop(running);
    server.stop().await;
}
