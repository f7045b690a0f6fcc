//! Metrics, in the names of the documents, of vLLM and our own.

use sm_server::ServerConfig;

use super::running::{Running, story};

/// The value of a sample, by its name and labels.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn requests_are_counted_in_all_names() {
    let server = Running::with(ServerConfig::new("demo")).await;
    let mut body = story(6);
    // Longer than a page of the cache.
    body["prompt"] = serde_json::json!("Once upon a time, there was a king. ".repeat(8));
    for _ in 0..2 {
        assert_eq!(server.complete(&body).await.status(), 200);
    }
    assert_eq!(server.complete(&serde_json::json!({})).await.status(), 400);
    let response = server.getting("/metrics").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    for (name, expected) in [
        ("model_requests_total{endpoint=\"/v1/completions\"}", 3.0),
        ("model_latency_seconds_count{endpoint=\"/v1/completions\"}", 3.0),
        ("smallmind_http_requests_total{endpoint=\"/v1/completions\",method=\"POST\",status=\"200\"}", 2.0),
        ("smallmind_http_requests_total{endpoint=\"/v1/completions\",method=\"POST\",status=\"400\"}", 1.0),
        ("smallmind_generated_tokens_total{model=\"demo\"}", 12.0),
        ("smallmind_requests_finished_total{finish_reason=\"length\",model=\"demo\"}", 2.0),
        ("smallmind_time_to_first_token_seconds_count{model=\"demo\"}", 2.0),
        ("smallmind_sequences_running{model=\"demo\"}", 0.0),
        ("vllm:num_requests_running{engine=\"0\",model_name=\"demo\"}", 0.0),
        ("vllm:num_requests_waiting{engine=\"0\",model_name=\"demo\"}", 0.0),
        ("vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"demo\"}", 0.0),
        ("vllm:generation_tokens_total{engine=\"0\",model_name=\"demo\"}", 12.0),
        ("vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"demo\"}", 2.0),
        ("vllm:e2e_request_latency_seconds_count{engine=\"0\",model_name=\"demo\"}", 2.0),
        ("vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"demo\"}", 12.0),
        ("vllm:num_preemptions_total{engine=\"0\",model_name=\"demo\"}", 0.0),
    ] {
        assert_eq!(sample(&text, name), expected, "{name}");
    }
    assert!(text.contains("vllm:cache_config_info{block_size="), "{text}");
    for part in ["weights", "kv_cache", "activations"] {
        let labels = format!("model=\"demo\",part=\"{part}\"}} ");
        let line = text
            .lines()
            .find(|line| line.starts_with("smallmind_memory_bytes{device=") && line.contains(&labels));
        let n_bytes: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(n_bytes > 1000.0, "{part}: {n_bytes}");
    }
    let prompts = sample(&text, "vllm:prompt_tokens_total{engine=\"0\",model_name=\"demo\"}");
    assert_eq!(sample(&text, "smallmind_prompt_tokens_total{model=\"demo\"}"), prompts);
    // The second prompt was the first one again.
    assert!(sample(&text, "vllm:prompt_tokens_cached_total{engine=\"0\",model_name=\"demo\"}") > 0.0);
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_endpoint_makes_no_new_series() {
    let server = Running::with(ServerConfig::new("demo")).await;
    for i in 0..5 {
        server.getting(&format!("/nothing/{i}")).send().await.unwrap();
    }
    let text = server.getting("/metrics").send().await.unwrap().text().await.unwrap();
    let name = "smallmind_http_requests_total{endpoint=\"none\",method=\"GET\",status=\"404\"}";
    assert_eq!(sample(&text, name), 5.0);
    assert!(!text.contains("/nothing"));
    server.stop().await;
}

/// Files of `deploy/` that ask for metrics.
const DEPLOYED: [(&str, &str); 4] = [
    ("alerts", include_str!("../../../../deploy/prometheus/alerts.yaml")),
    ("tests of the alerts", include_str!("../../../../deploy/prometheus/alerts_test.yaml")),
    ("board", include_str!("../../../../deploy/grafana/smallmind.json")),
    ("autoscaler", include_str!("../../../../deploy/kubernetes/hpa.yaml")),
];

#[tokio::test]
async fn alerts_and_boards_ask_only_for_metrics_that_there_are() {
    let server = Running::with(ServerConfig::new("demo")).await;
    assert_eq!(server.complete(&story(2)).await.status(), 200);
    let metrics = server.getting("/metrics").send().await.unwrap().text().await.unwrap();
    let exported: std::collections::HashSet<&str> =
        metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for (file, text) in DEPLOYED {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        // What is recorded by a rule has a colon in its name, and the rule is in the same file.
        let asked: Vec<&str> = words.filter(|word| word.starts_with("smallmind_")).collect();
        assert!(!asked.is_empty(), "the {file} ask for nothing");
        for name in asked {
            assert!(exported.contains(name), "the {file} ask for {name}, which /metrics does not have");
        }
    }
    server.stop().await;
}
