//! Keys: who may call, how often, and what.

use serde_json::{Value, json};
use sm_server::{NewKey, ServerConfig};

use super::running::{Running, error, story};

/// A file of keys, removed in the end.
struct KeysFile(std::path::PathBuf);

impl KeysFile {
    fn new(name: &str, keys: &[(&NewKey, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("sm-server-{name}-{}.toml", std::process::id()));
        let file = Self(path);
        file.write(keys);
        file
    }

    fn write(&self, keys: &[(&NewKey, &str)]) {
        let entry = |(number, (key, rules)): (usize, &(&NewKey, &str))| {
            format!("[[key]]\nname = \"key {number}\"\nhash = \"{}\"\n{rules}\n", key.hash)
        };
        std::fs::write(&self.0, keys.iter().enumerate().map(entry).collect::<String>()).unwrap();
    }
}

impl Drop for KeysFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_key_is_needed_once_there_is_one_except_to_ask_for_health() {
    let server = Running::with(ServerConfig::new("demo").api_key("right")).await;
    assert_eq!(server.getting("/health").send().await.unwrap().status(), 200);
    assert_ne!(server.getting("/ready").send().await.unwrap().status(), 401);
    for path in ["/v1/models", "/metrics", "/admin/models"] {
        let response = server.getting(path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(error(response).await["code"], "invalid_api_key");
    }
    for (name, value, status) in [
        ("authorization", "Bearer right", 200),
        ("x-api-key", "right", 200),
        ("X-API-Key", "right", 200),
        ("authorization", "Bearer wrong", 401),
        ("authorization", "right", 401),
        ("x-api-key", "wrong", 401),
    ] {
        let response = server.getting("/v1/models").header(name, value).send().await.unwrap();
        assert_eq!(response.status(), status, "{name}: {value}");
    }
    // As the documents have it.
    let response = server.getting("/metrics").header("X-API-Key", "wrong").send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(error(response).await["message"], "Invalid API Key");
    let response = server.getting("/admin/models").bearer_auth("right").send().await.unwrap();
    assert_eq!(response.status(), 403);
    server.stop().await;
}

#[tokio::test]
async fn requests_and_tokens_per_minute_are_limited_and_told_in_headers() {
    let [few, small] = [NewKey::random().unwrap(), NewKey::random().unwrap()];
    let file =
        KeysFile::new("rates", &[(&few, "requests_per_minute = 2"), (&small, "tokens_per_minute = 20")]);
    let server = Running::with(ServerConfig::new("demo").keys_file(&file.0)).await;
    let complete = async |key: &NewKey| {
        server.posting("/v1/completions", &story(30)).bearer_auth(&key.key).send().await.unwrap()
    };
    let first = complete(&few).await;
    assert_eq!(
        (first.status().as_u16(), &first.headers()["x-ratelimit-limit-requests"]),
        (200, &"2".parse().unwrap())
    );
    assert_eq!(first.headers()["x-ratelimit-remaining-requests"], "1");
    assert_eq!(complete(&few).await.status(), 200);
    let third = complete(&few).await;
    assert_eq!(
        (third.status().as_u16(), &third.headers()["x-ratelimit-remaining-requests"]),
        (429, &"0".parse().unwrap())
    );
    let wait: u64 = third.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let error = error(third).await;
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    // Asking is not counted.
    assert_eq!(server.getting("/v1/models").bearer_auth(&few.key).send().await.unwrap().status(), 200);
    // An answer may exceed what is left of the tokens; the next one waits for that to be paid back.
    let first = complete(&small).await;
    assert_eq!(
        (first.status().as_u16(), &first.headers()["x-ratelimit-remaining-tokens"]),
        (200, &"0".parse().unwrap())
    );
    let second = complete(&small).await;
    assert_eq!(second.status(), 429);
    assert!(second.headers()["x-ratelimit-reset-tokens"].to_str().unwrap().ends_with('s'));
    server.stop().await;
}

#[tokio::test]
async fn a_key_has_its_models_and_its_share_at_a_time() {
    let [one, other] = [NewKey::random().unwrap(), NewKey::random().unwrap()];
    let file = KeysFile::new("shares", &[(&one, "max_concurrent = 1"), (&other, "models = [\"small\"]")]);
    let server = Running::with(ServerConfig::new("demo").keys_file(&file.0)).await;
    server.ready().await;
    let post =
        |key: &NewKey, body: &Value| server.posting("/v1/completions", body).bearer_auth(&key.key).send();
    let mut long = story(900);
    long["stream"] = json!(true);
    let mut running = post(&one, &long).await.unwrap();
    running.chunk().await.unwrap();
    let refused = post(&one, &story(1)).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(error(refused).await["message"].as_str().unwrap().contains("1 requests at a time"));
    drop(running);
    let refused = post(&other, &story(1)).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(error(refused).await["message"].as_str().unwrap().contains("small"));
    let mut body = story(1);
    body["model"] = json!("small:latest");
    assert_eq!(post(&other, &body).await.unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn keys_are_read_again_when_asked() {
    let [old, new] = [NewKey::random().unwrap(), NewKey::random().unwrap()];
    let file = KeysFile::new("reload", &[(&old, "")]);
    let server = Running::with(ServerConfig::new("demo").keys_file(&file.0)).await;
    let status = async |key: &NewKey| {
        server.getting("/v1/models").bearer_auth(&key.key).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    file.write(&[(&new, "")]);
    server.reload.now();
    for _ in 0..200 {
        if status(&new).await == 200 {
            assert_eq!(status(&old).await, 401);
            return server.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the keys were not read again");
}

#[tokio::test]
async fn anybody_may_call_an_endpoint_so_often() {
    let server = Running::with(ServerConfig::new("demo").rate_limit("2/60".parse().ok())).await;
    let statuses = [
        server.complete(&story(1)).await,
        server.complete(&story(1)).await,
        server.complete(&story(1)).await,
    ];
    assert_eq!(statuses.each_ref().map(|response| response.status().as_u16()), [200, 200, 429]);
    assert!(statuses[2].headers().contains_key("retry-after"));
    server.stop().await;
}
