//! Hostile and broken requests: a clear answer for each, and no harm to others.

use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use sm_runtime::BatchingConfig;
use sm_server::{ServerConfig, TermFilter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::running::{Running, error, story};

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_the_numbers() {
    let server = Running::with(ServerConfig::new("demo").max_body_bytes(1000)).await;
    let body = json!({"prompt": "x".repeat(2000)});
    let response = server.complete(&body).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let error = error(response).await;
    let message = error["message"].as_str().unwrap();
    let n_bytes = body.to_string().len().to_string();
    assert!(message.contains(&n_bytes) && message.contains("1000"), "{message}");
    assert_eq!(error["type"], "invalid_request_error");
    // Without a length, in chunks.
    let mut chunked =
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"64\r\n");
        chunked.extend_from_slice(&[b'x'; 100]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&chunked).await.unwrap();
    let mut response = vec![0; 4096];
    let n_read = stream.read(&mut response).await.unwrap();
    let response = String::from_utf8_lossy(&response[..n_read]).into_owned();
    assert!(response.starts_with("HTTP/1.1 413") && response.contains("at most 1000"), "{response}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_a_huge_body_still_reads_the_answer() {
    let server = Running::with(ServerConfig::new("demo").max_body_bytes(1 << 16)).await;
    let request = server.client.post(server.url("/v1/completions")).body(vec![b' '; 100 << 20]);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    server.stop().await;
}

#[tokio::test]
async fn broken_and_hostile_json_is_a_clear_error() {
    let server = Running::with(ServerConfig::new("demo")).await;
    let deep = "[".repeat(1_000_000);
    let deep_field = format!("{{\"prompt\": {}}}", "{\"a\":".repeat(100_000));
    let schema = format!(
        "{{\"prompt\": \"a\", \"response_format\": {{\"type\": \"json_schema\", \"json_schema\": {{\"name\": \"a\", \"schema\": {}}}}}}}",
        json!({"anyOf": (0..20_000).map(|i| json!({"const": i.to_string()})).collect::<Vec<_>>()})
    );
    for (body, part) in [
        (&deep[..], "recursion limit"),
        (&deep_field, "recursion limit"),
        ("{\"prompt\": \"a\"", "no JSON"),
        ("", "no JSON"),
        ("\u{0}\u{1}", "no JSON"),
        ("{\"prompt\": \"a\", \"temperature\": NaN}", "no JSON"),
        ("{\"prompt\": \"a\", \"temperature\": 1e999}", "no JSON"),
        ("{\"prompt\": \"a\", \"max_tokens\": 1e30}", "max_tokens"),
        ("{\"prompt\": \"a\", \"seed\": 1e300}", "seed"),
        ("{\"prompt\": \"a\", \"n\": 1000000000}", "n"),
        ("{\"prompt\": \"a\", \"logit_bias\": {\"99999999\": 1}}", "logit_bias"),
        ("{\"prompt\": \"a\", \"top_p\": 1e38}", "top_p"),
        ("{\"prompt\": [99999999]}", "token"),
        (&schema, ""),
    ] {
        let request = server.client.post(server.url("/v1/completions")).body(body.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status();
        let shown: String = body.chars().take(80).collect();
        assert!(status.is_client_error() || (part.is_empty() && status.is_success()), "{status}: {shown}");
        if status.is_client_error() {
            let message = error(response).await["message"].as_str().unwrap().to_owned();
            assert!(message.contains(part), "{shown}: {message}");
        }
    }
    let form =
        server.client.post(server.url("/v1/completions")).header("content-type", "multipart/form-data");
    let response = form.body("--x").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(error(response).await["message"].as_str().unwrap().contains("application/json"));
    assert_eq!(server.complete(&story(1)).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let server = Running::with(ServerConfig::new("demo")).await;
    for flood in [
        (0..200).map(|i| format!("x-{i}: a\r\n")).collect::<String>(),
        format!("x-long: {}\r\n", "a".repeat(1 << 20)),
    ] {
        let response = server.raw(format!("GET /health HTTP/1.1\r\nhost: x\r\n{flood}\r\n").as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 431") || response.is_empty(), "{response}");
    }
    assert_eq!(server.getting("/health").send().await.unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_dawdles_is_not_waited_for() {
    let short = Duration::from_millis(300);
    let config = ServerConfig::new("demo").header_timeout(short).body_timeout(short);
    let server = Running::with(config).await;
    let begun = Instant::now();
    // Headers that never end: the connection is closed.
    let half = server.raw(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n").await;
    assert!(half.is_empty() || half.starts_with("HTTP/1.1 408"), "{half}");
    // A body that never comes.
    let response = server
        .raw(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{")
        .await;
    assert!(response.starts_with("HTTP/1.1 408") && response.contains("--body-timeout"), "{response}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn errors_of_all_kinds_have_the_envelope() {
    let server = Running::with(ServerConfig::new("demo")).await;
    for (response, status) in [
        (server.getting("/nothing").send().await.unwrap(), 404),
        (server.getting("/v1/completions").send().await.unwrap(), 405),
        (server.getting("/v1/models/%ff").send().await.unwrap(), 400),
    ] {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(error(response).await["message"].is_string());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_has_an_id_in_its_answer_whatever_that_is() {
    let server = Running::with(ServerConfig::new("demo")).await;
    let given = server.getting("/health").header("x-request-id", "abc-1").send().await.unwrap();
    assert_eq!(given.headers()["x-request-id"], "abc-1");
    let [a, b] = [server.getting("/nothing"), server.getting("/health").header("x-request-id", "a b")];
    let [a, b] = [a.send().await.unwrap(), b.send().await.unwrap()];
    let ids = [&a, &b].map(|response| response.headers()["x-request-id"].to_str().unwrap().to_owned());
    assert!(ids[0].starts_with("req-") && ids[1].starts_with("req-") && ids[0] != ids[1], "{ids:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_says_what_took_how_long() {
    let server = Running::with(ServerConfig::new("demo")).await;
    let answer = server.complete(&story(5)).await;
    let timing = answer.headers()["server-timing"].to_str().unwrap().to_owned();
    for part in ["queue;dur=", "prefill;dur=", "decode;dur=", "generated=5"] {
        assert!(timing.contains(part), "{timing}");
    }
    // After a stream, as a trailer, for clients that take them.
    let mut body = story(5);
    body["stream"] = json!(true);
    let body = body.to_string();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nte: trailers\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let response = server.raw(request.as_bytes()).await;
    let end = response[response.find("[DONE]").unwrap()..].to_lowercase();
    assert!(end.contains("server-timing: queue;dur=") && end.contains("generated=5"), "{end}");
    server.stop().await;
}

#[tokio::test]
async fn web_pages_from_allowed_origins_may_call() {
    let ui = "http://localhost:8501";
    let server =
        Running::with(ServerConfig::new("demo").cors_origins(vec![ui.to_owned()]).api_key("k")).await;
    let preflight = |origin: &str| {
        let request = server.client.request(reqwest::Method::OPTIONS, server.url("/v1/completions"));
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,content-type").send()
    };
    let allowed = preflight(ui).await.unwrap();
    assert!(allowed.status().is_success());
    assert_eq!(allowed.headers()["access-control-allow-origin"], ui);
    assert_eq!(allowed.headers()["access-control-allow-headers"], "authorization,content-type");
    let other = preflight("http://evil.example").await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    // A refusal can be read by the page, too.
    let refused = server.getting("/v1/models").header("origin", ui).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["access-control-allow-origin"], ui);
    server.stop().await;
}

#[tokio::test]
async fn http_2_works_without_tls() {
    let server = Running::with(ServerConfig::new("demo")).await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let mut body = story(3);
    body["stream"] = json!(true);
    let request = Request::post(server.url("/v1/completions")).body(Full::new(Bytes::from(body.to_string())));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap();
    let timing = body.trailers().unwrap()["server-timing"].to_str().unwrap().to_owned();
    assert!(timing.contains("generated=3"), "{timing}");
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    assert!(text.contains("data: [DONE]"), "{text}");
    drop(sender);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_or_runs_for_too_long_is_ended() {
    let batching = BatchingConfig::new().max_batch_size(1);
    let config = ServerConfig::new("demo").queue_timeout(Some(Duration::from_millis(50)));
    let server = Running::with_batching(config, batching.clone()).await;
    server.ready().await;
    let mut body = story(900);
    body["stream"] = json!(true);
    let mut running = server.complete(&body).await;
    running.chunk().await.unwrap();
    let response = server.complete(&story(1)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert!(error(response).await["message"].as_str().unwrap().contains("--queue-timeout"));
    drop(running);
    server.stop().await;

    let config = ServerConfig::new("demo").request_timeout(Some(Duration::from_millis(20)));
    let server = Running::with_batching(config, batching).await;
    server.ready().await;
    let response = server.complete(&story(1000)).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    server.stop().await;
}

#[tokio::test]
async fn unwanted_content_is_refused_in_the_words_of_the_documents() {
    let filter = TermFilter::new("forbidden fruit\n").unwrap();
    let server = Running::with(ServerConfig::new("demo").content_filter(filter)).await;
    for (path, body) in [
        ("/v1/completions", json!({"prompt": "The Forbidden Fruit"})),
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "forbidden fruit"}]})),
    ] {
        let response = server.posting(path, &body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(error(response).await["message"], "Prohibited content in request");
    }
    assert_eq!(server.complete(&story(1)).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_can_only_be_one_is_sent_again() {
    let server = Running::with(ServerConfig::new("demo").response_cache(10)).await;
    let first = server.complete(&story(8)).await;
    assert_eq!(first.headers()["x-cache"], "miss");
    let second = server.complete(&story(8)).await;
    assert_eq!(second.headers()["x-cache"], "hit");
    assert_eq!(first.text().await.unwrap(), second.text().await.unwrap());
    let mut other = story(8);
    other["temperature"] = json!(1);
    assert!(!server.complete(&other).await.headers().contains_key("x-cache"));
    server.stop().await;
}
