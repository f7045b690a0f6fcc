//! What hostile clients cost: no more memory than the limits say. A binary of its own, since it measures the process.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/running.rs"]
mod running;

use std::time::Duration;

use running::Running;
use sm_runtime::ModelRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Clients of each kind at a time.
const N_CLIENTS: usize = 8;

/// The largest body that the server reads.
const MAX_BODY: usize = 1 << 20;

/// What all of a kind may cost at most, in KiB: their bodies as text and as JSON, sockets and tasks, and the clients themselves.
const MAX_GROWTH: usize = 96 << 10;

/// The same for schemas, whose automata are many times as large as their text. Those that are as long as these are compiled one at a
/// time.
const MAX_GROWTH_OF_SCHEMAS: usize = 192 << 10;

/// A figure of `/proc/self/status` in KiB; `None` where there is none.
fn memory(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a head and then the same part again and again, until all is sent or the server has enough. Gives the status.
async fn send(address: std::net::SocketAddr, head: String, part: Vec<u8>, times: usize) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let sending = async {
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..times {
            stream.write_all(&part).await?;
        }
        std::io::Result::Ok(())
    };
    // A server that refuses what is sent may close before all is sent.
    let _ = tokio::time::timeout(Duration::from_secs(20), sending).await;
    let mut answer = [0; 16];
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut answer)).await;
    let n_bytes = read.unwrap_or(Ok(0)).unwrap_or(0);
    String::from_utf8_lossy(&answer[..n_bytes]).chars().skip("HTTP/1.1 ".len()).take(3).collect()
}

/// What hostile clients send: a head, and a part of a body so many times.
struct Hostile {
    kind: &'static str,
    head: String,
    part: Vec<u8>,
    times: usize,
    /// Statuses that are right; an empty one is a connection that was closed.
    expected: &'static [&'static str],
}

impl Hostile {
    fn new(
        kind: &'static str,
        head: String,
        part: Vec<u8>,
        times: usize,
        expected: &'static [&'static str],
    ) -> Self {
        Self { kind, head, part, times, expected }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_get_a_clear_answer_and_cost_no_more_memory_than_the_limits_say() {
    let server = Running::of(ModelRef::Demo, |config| {
        config.max_body_bytes(MAX_BODY).header_timeout(Duration::from_secs(2))
    })
    .await;
    server.json("/completion", &serde_json::json!({"prompt": "Once", "n_predict": 4})).await;
    let head =
        |body: &str| format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{body}\r\n");
    let length = |n: usize| head(&format!("content-length: {n}\r\n"));
    let deep = "[".repeat(1_000_000);
    let alternatives: Vec<String> = (0..40_000).map(|i| format!("{{\"const\": \"{i}\"}}")).collect();
    let schema =
        format!("{{\"prompt\": \"a\", \"json_schema\": {{\"anyOf\": [{}]}}}}", alternatives.join(","));
    let chunk = [b"10000\r\n", &vec![b' '; 1 << 16][..], b"\r\n"].concat();
    let kinds = [
        Hostile::new("100 MB, announced", length(100 << 20), vec![b' '; 1 << 16], 1600, &["413"]),
        Hostile::new("100 MB in chunks", head("transfer-encoding: chunked\r\n"), chunk, 1600, &["413", ""]),
        Hostile::new("JSON a million deep", length(deep.len()), deep.into_bytes(), 1, &["400"]),
        Hostile::new("a giant schema", length(schema.len()), schema.into_bytes(), 1, &["200", "400", "429"]),
        Hostile::new(
            "a flood of headers",
            "GET / HTTP/1.1\r\nhost: x\r\n".to_owned(),
            b"x-flood: 1\r\n".to_vec(),
            100_000,
            &["431", ""],
        ),
        Hostile::new(
            "a header that never ends",
            "GET / HTTP/1.1\r\nx: ".to_owned(),
            vec![b'x'; 1],
            1,
            &["408", ""],
        ),
    ];
    for Hostile { kind, head, part, times, expected } in &kinds {
        // From here on, the highest is that of these clients.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let before = memory("VmRSS");
        let mut clients = JoinSet::new();
        for _ in 0..N_CLIENTS {
            clients.spawn(send(server.address, head.clone(), part.clone(), *times));
        }
        while let Some(status) = clients.join_next().await {
            let status = status.unwrap();
            assert!(expected.contains(&&*status), "{kind}: {status:?}");
            assert_eq!(server.get("/health").await.status(), 200);
        }
        if let (Some(before), Some(highest)) = (before, memory("VmHWM")) {
            let growth = highest.saturating_sub(before);
            println!("{kind}: {growth} KiB");
            let limit = if *kind == "a giant schema" { MAX_GROWTH_OF_SCHEMAS } else { MAX_GROWTH };
            assert!(growth < limit, "{kind}: {growth} KiB");
        }
    }
    server.json("/completion", &serde_json::json!({"prompt": "Once", "n_predict": 4})).await;
    server.stop().await;
}
