//! Limits that two servers share through a Redis server of this machine.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;
#[path = "../../sm-model/src/testing.rs"]
#[allow(dead_code, reason = "there is no data that is looked for")]
mod testing;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use running::Running;
use serde_json::{Value, json};
use sm_runtime::ModelRef;
use sm_server::{NewKey, RedisFallback, ServerConfig};

/// A Redis server that keeps nothing, until it is dropped.
struct Redis {
    child: Child,
    url: String,
}

impl Redis {
    /// `None` if there is no `redis-server`, for which the test is skipped.
    async fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        let Ok(child) = command.stdout(Stdio::null()).spawn() else {
            return testing::skip(&"redis-server is missing; install it");
        };
        let redis = Self { child, url: format!("redis://127.0.0.1:{port}") };
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It keeps nothing that a sudden end could harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn pair(change: impl Fn(ServerConfig) -> ServerConfig) -> [Running; 2] {
    [Running::of(ModelRef::Demo, &change).await, Running::of(ModelRef::Demo, &change).await]
}

#[tokio::test]
async fn two_servers_count_as_one() {
    let Some(redis) = Redis::start().await else { return };
    let servers = pair(|config| {
        let limit = "4/3600".parse().unwrap();
        config.rate_limit(Some(limit)).shared_limits(&redis.url, RedisFallback::Refuse)
    })
    .await;
    let body = json!({"content": "Once"});
    let mut statuses = Vec::new();
    for turn in 0..6 {
        statuses.push(servers[turn % 2].post("/tokenize", &body).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    let refused = servers[0].post("/tokenize", &body).await;
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 600);
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn the_tokens_of_a_key_are_counted_wherever_they_are_made() {
    let Some(redis) = Redis::start().await else { return };
    let key = NewKey::random().unwrap();
    let path = std::env::temp_dir().join(format!("sm-shared-{}.toml", std::process::id()));
    let entry = format!("[[key]]\nname = \"a\"\nhash = \"{}\"\ntokens_per_minute = 30\n", key.hash);
    std::fs::write(&path, entry).unwrap();
    let servers =
        pair(|config| config.keys_file(&path).shared_limits(&redis.url, RedisFallback::Alone)).await;
    let body = json!({"prompt": "Once upon a time", "max_tokens": 40, "ignore_eos": true});
    let ask = async |server: &Running| {
        let request = server.client.post(server.url("/v1/completions")).bearer_auth(&key.key).json(&body);
        request.send().await.unwrap()
    };
    assert_eq!(ask(&servers[0]).await.status(), 200);
    // What was used is noted behind the answer.
    let mut refused = ask(&servers[1]).await;
    for _ in 0..50 {
        if refused.status() == 429 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        refused = ask(&servers[1]).await;
    }
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-ratelimit-remaining-tokens"]),
        (429, &"0".parse().unwrap())
    );
    let error: Value = refused.json().await.unwrap();
    assert!(error["error"]["message"].as_str().unwrap().contains("30 tokens per minute"), "{error}");
    for server in servers {
        server.stop().await;
    }
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn without_redis_each_counts_alone_or_all_is_refused() {
    // Nobody listens there.
    let url = "redis://127.0.0.1:1";
    for (fallback, expected) in [(RedisFallback::Alone, [200, 429]), (RedisFallback::Refuse, [503, 503])] {
        let server = Running::of(ModelRef::Demo, |config| {
            config.rate_limit(Some("1/3600".parse().unwrap())).shared_limits(url, fallback)
        })
        .await;
        for status in expected {
            let answer = server.post("/tokenize", &json!({"content": "Once"})).await;
            assert_eq!(answer.status().as_u16(), status, "{fallback:?}");
        }
        assert_eq!(server.get("/health").await.status(), 200);
        server.stop().await;
    }
}
