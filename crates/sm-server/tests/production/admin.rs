//! Administration, and which models are loaded.

use std::time::Duration;

use serde_json::{Value, json};
use sm_runtime::ModelState;
use sm_server::ServerConfig;

use super::running::{Running, error, story};

impl Running {
    async fn admin(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.posting(path, body).bearer_auth("root").send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    fn state(&self, name: &str) -> ModelState {
        self.models.list().into_iter().find(|model| model.name == name).unwrap().state
    }
}

fn ask(model: &str) -> Value {
    let mut body = story(2);
    body["model"] = json!(model);
    body
}

#[tokio::test]
async fn administrators_load_and_unload_drain_and_reconfigure() {
    let level = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let set = std::sync::Arc::clone(&level);
    let config = ServerConfig::new("demo").admin_key("root").log_level(move |level| match level {
        "loud" => Err("the levels are off, error and debug".to_owned()),
        level => {
            *set.lock().unwrap() = level.to_owned();
            Ok(())
        }
    });
    let server = Running::with(config).await;
    // Others need no key, and have no business here.
    assert_eq!(server.complete(&story(1)).await.status(), 200);
    assert_eq!(server.posting("/admin/drain", &json!({})).send().await.unwrap().status(), 401);
    assert_eq!(server.admin("/admin/models/load", &json!({"model": "small"})).await.0, 200);
    assert_eq!(server.state("small"), ModelState::Ready);
    assert_eq!(server.admin("/admin/models/unload", &json!({"model": "small"})).await.0, 200);
    assert_eq!(server.state("small"), ModelState::Unloaded);
    assert_eq!(server.admin("/admin/models/load", &json!({"model": "none"})).await.0, 404);
    assert_eq!(server.admin("/admin/models/load", &json!({"modle": "demo"})).await.0, 400);

    assert_eq!(server.admin("/admin/drain", &json!({})).await.0, 200);
    for path in ["/health", "/ready"] {
        assert_eq!(server.getting(path).send().await.unwrap().status(), 503);
    }
    let refused = server.complete(&story(1)).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(error(refused).await["code"], "draining");
    assert_eq!(server.admin("/admin/resume", &json!({})).await.0, 200);
    assert_eq!(server.complete(&story(1)).await.status(), 200);

    let held = server.admin("/admin/cache/reset", &json!({})).await;
    assert_eq!(held, (200, json!({"status": "reset", "held_bytes": 0})));
    assert_eq!(server.admin("/admin/reconfigure", &json!({"max_batch_size": 3})).await.0, 200);
    assert_eq!(server.models.loaded()[0].1.batching().unwrap().max_batch_size, 3);
    assert_eq!(server.admin("/admin/reconfigure", &json!({"max_batch_size": 100_000})).await.0, 400);
    assert_eq!(server.admin("/admin/log-level", &json!({"level": "debug"})).await.0, 200);
    assert_eq!(*level.lock().unwrap(), "debug");
    let (status, body) = server.admin("/admin/log-level", &json!({"level": "loud"})).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("level")));
    let models: Value =
        server.getting("/admin/models").bearer_auth("root").send().await.unwrap().json().await.unwrap();
    assert_eq!(models["models"][0]["state"], "ready");
    server.stop().await;
}

#[tokio::test]
async fn another_model_takes_the_place_of_an_idle_one() {
    let server = Running::with(ServerConfig::new("demo").max_models(Some(1))).await;
    server.ready().await;
    assert_eq!(server.complete(&ask("small")).await.status(), 200);
    assert_eq!((server.state("demo"), server.state("small")), (ModelState::Unloaded, ModelState::Ready));
    // Whoever sends requests here is served: the model is loaded on demand.
    assert_eq!(server.getting("/ready").send().await.unwrap().status(), 200);
    let mut long = ask("small");
    long["max_tokens"] = json!(900);
    long["stream"] = json!(true);
    let mut running = server.complete(&long).await;
    running.chunk().await.unwrap();
    let refused = server.complete(&ask("demo")).await;
    assert_eq!(refused.status(), 503);
    assert!(error(refused).await["message"].as_str().unwrap().contains("--max-models"));
    drop(running);
    server.stop().await;
}

#[tokio::test]
async fn idle_models_are_unloaded_and_pinned_ones_are_not() {
    let config = ServerConfig::new("demo").idle_unload(Some(Duration::from_millis(100)));
    let server = Running::with(config.pinned_models(vec!["demo:latest".into()])).await;
    assert_eq!(server.complete(&ask("small")).await.status(), 200);
    server.ready().await;
    for _ in 0..600 {
        if server.state("small") == ModelState::Unloaded {
            assert_eq!(server.state("demo"), ModelState::Ready);
            assert_eq!(server.complete(&ask("small")).await.status(), 200);
            return server.stop().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the model was not unloaded within 30 seconds");
}

#[tokio::test]
async fn readiness_says_how_far_loading_is() {
    let server = Running::with(ServerConfig::new("demo")).await;
    let first: Value = server.getting("/ready").send().await.unwrap().json().await.unwrap();
    let is_told =
        first["status"] == "ready" || (first["status"] == "loading" && first["progress"].is_number());
    assert!(is_told, "{first}");
    server.ready().await;
    server.stop().await;
}
