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
    assert!(busy["gen_throughput"].as_f64().unwrap() > 0.0, "{busy}");
    // As vllm-router 0.1 reads it: `data.get("load").and_then(|v| v.as_i64())`.
    assert_eq!(get(&server, "/get_load").await["load"].as_i64(), Some(1));
    drop(running);
    server.stop().await;
}

/// A response of `/v1/loads` as smg 1.13 deserializes it: `WorkerLoadResponse`, `SchedulerLoadSnapshot` and their parts in
/// `crates/protocols/src/worker.rs`. Its structs have defaults, so a field that is missing or of another name would be 0 unnoticed;
/// here it is an error.
#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "what counts is that they can be read")]
struct WorkerLoadResponse {
    timestamp: String,
    version: String,
    dp_rank_count: i32,
    loads: Vec<SchedulerLoadSnapshot>,
    aggregate: Aggregate,
}

#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "what counts is that they can be read")]
struct SchedulerLoadSnapshot {
    dp_rank: i32,
    num_running_reqs: i32,
    num_waiting_reqs: i32,
    num_total_reqs: i32,
    num_used_tokens: i32,
    max_total_num_tokens: i32,
    token_usage: f64,
    gen_throughput: f64,
    cache_hit_rate: f64,
    utilization: f64,
    max_running_requests: i32,
    memory: Memory,
    queues: Queues,
}

#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "what counts is that they can be read")]
struct Memory {
    weight_gb: f64,
    kv_cache_gb: f64,
    graph_gb: f64,
    token_capacity: i32,
}

#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "what counts is that they can be read")]
struct Queues {
    waiting: i32,
    grammar: i32,
    paused: i32,
    retracted: i32,
}

#[derive(Debug, serde::Deserialize)]
#[allow(dead_code, reason = "what counts is that they can be read")]
struct Aggregate {
    total_running_reqs: i32,
    total_waiting_reqs: i32,
    total_reqs: i32,
    avg_token_usage: f64,
    avg_throughput: f64,
    avg_utilization: f64,
}

/// `/server_info` and `/model_info` as smg 1.13 deserializes them: `discover_metadata.rs` in
/// `model_gateway/src/core/steps/worker/local/`. A field of another type makes it ignore the whole answer.
#[derive(Debug, serde::Deserialize)]
struct ServerInfo {
    #[serde(alias = "model")]
    model_id: Option<String>,
    served_model_name: Option<String>,
    tp_size: Option<usize>,
    dp_size: Option<usize>,
    version: Option<String>,
    max_running_requests: Option<usize>,
}

#[derive(Debug, serde::Deserialize)]
struct RouterModelInfo {
    is_generation: Option<bool>,
    model_type: Option<String>,
}

#[tokio::test]
async fn smg_reads_what_a_replica_says() {
    let server = Running::start().await;
    server.json("/v1/completions", &json!({"prompt": "Once", "max_tokens": 4})).await;
    // The request of its `worker/monitor.rs`.
    let load = get(&server, "/v1/loads?include=core,disagg,queues,memory").await;
    let load: WorkerLoadResponse = serde_json::from_value(load).unwrap();
    assert_eq!((load.dp_rank_count, load.loads.len(), load.aggregate.total_reqs), (1, 1, 0));
    let rank = &load.loads[0];
    assert!(
        rank.max_total_num_tokens > 0 && rank.memory.token_capacity == rank.max_total_num_tokens,
        "{rank:?}"
    );
    assert_eq!((rank.gen_throughput, rank.queues.waiting), (0.0, 0), "an idle server generates nothing");
    for path in ["/server_info", "/get_server_info"] {
        let info: ServerInfo = serde_json::from_value(get(&server, path).await).unwrap();
        assert_eq!(
            (info.model_id.as_deref(), info.served_model_name.as_deref()),
            (Some("demo"), Some("demo"))
        );
        assert_eq!((info.tp_size, info.dp_size), (Some(1), Some(1)));
        assert!(info.version.is_some() && info.max_running_requests.is_some_and(|n| n > 0));
    }
    for path in ["/model_info", "/get_model_info"] {
        let info: RouterModelInfo = serde_json::from_value(get(&server, path).await).unwrap();
        assert_eq!((info.is_generation, info.model_type.as_deref()), (Some(true), Some("qwen3")));
    }
    server.stop().await;
}

#[tokio::test]
async fn loads_come_as_gauges_in_sglangs_names() {
    let server = Running::start().await;
    let response = server.get("/v1/loads?format=prometheus&include=core,queues").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for line in ["sglang_num_running_reqs{dp_rank=\"0\"} 0", "sglang_queues_waiting{dp_rank=\"0\"} 0"] {
        assert!(text.lines().any(|other| other == line), "{text}");
    }
    assert!(!text.contains("memory") && text.contains("# TYPE sglang_token_usage gauge"), "{text}");
    assert_eq!(server.get("/v1/loads?format=xml").await.status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn what_vllm_router_makes_of_a_chat_is_answered_as_the_chat() {
    let server = Running::start().await;
    let chat = json!({"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 8});
    // All fields that vllm-router 0.1.17 adds, as a worker saw them.
    let added = json!({
        "stream": false, "logprobs": false, "no_stop_trim": false, "ignore_eos": false, "continue_final_message": false,
        "skip_special_tokens": true, "separate_reasoning": true, "stream_reasoning": true, "return_hidden_states": false,
        "include_reasoning": true,
    });
    for path in ["/v1/chat/completions", "/v1/chat/completions/render"] {
        let (plain, passed) =
            (server.json(path, &chat).await, server.json(path, &with(chat.clone(), added.clone())).await);
        assert_eq!((&plain["choices"], &plain["token_ids"]), (&passed["choices"], &passed["token_ids"]));
    }
    let other = with(chat, json!({"return_hidden_states": true}));
    assert_eq!(server.post("/v1/chat/completions", &other).await.status(), 400);
    server.stop().await;
}
