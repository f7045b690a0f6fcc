//! Load: more requests than can be served, clients that go away, idle ones and slow ones, and an end in the midst of it.
//!
//! `cargo xtask load` runs the same with `SM_LOAD`, longer and with limits of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};
use sm_runtime::{BatchingConfig, Engine};
use sm_server::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::running::{Running, story};

/// Whether times are checked: on a machine with nothing else to do.
fn is_long() -> bool {
    std::env::var_os("SM_LOAD").is_some()
}

/// A number for the short form, and one for the long form.
fn either(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

fn streamed(n_tokens: usize) -> Value {
    let mut body = story(n_tokens);
    body["stream"] = json!(true);
    body
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

impl Running {
    /// A small engine: 4 at a time, 8 that wait.
    async fn small() -> Self {
        let batching = BatchingConfig::new().max_batch_size(4).max_queued_requests(8);
        let server = Self::with_batching(ServerConfig::new("demo"), batching).await;
        server.ready().await;
        server
    }

    /// Waits until the engine has nothing left to generate; answers may not have been read.
    async fn is_generated(&self) {
        let engine = self.demo();
        while engine.stats().running + engine.stats().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn demo(&self) -> Engine {
        self.models.loaded().into_iter().find(|(name, _)| name == "demo").unwrap().1
    }

    /// Checks that nothing of any request is left.
    async fn nothing_is_left(&self) {
        let engine = self.demo();
        let mut left = String::new();
        for _ in 0..200 {
            let stats = engine.stats();
            let n_uses: usize = self.models.list().iter().map(|model| model.n_uses).sum();
            let counts = [
                stats.live_requests,
                stats.running,
                stats.waiting,
                stats.cache.current_leases,
                stats.cache.pinned_pages,
                n_uses,
            ];
            if counts == [0; 6] {
                return;
            }
            left = format!("[requests, running, waiting, leases, pages, uses]: {counts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{left}");
    }

    /// Asks for health until told to stop; returns the longest time that took.
    async fn watch_health(&self, is_over: Arc<AtomicBool>) -> Duration {
        let mut longest = Duration::ZERO;
        while !is_over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            assert_eq!(self.getting("/health").send().await.unwrap().status(), 200);
            longest = longest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        longest
    }
}

/// Resident memory of this process in MiB, where it can be read.
fn resident_mib() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok().map(|kib| kib / 1024)
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    served: usize,
    refused: usize,
    /// The times to the first token of those that were served.
    first: Vec<Duration>,
}

/// Clients that ask again as soon as they are answered, and after about `pause` if they are refused, for so long.
async fn clients(server: &Arc<Running>, n_clients: u64, lasting: Duration, pause: Duration) -> Seen {
    let until = Instant::now() + lasting;
    let mut clients = JoinSet::new();
    for client in 0..n_clients {
        let server = Arc::clone(server);
        clients.spawn(async move {
            let mut seen = Seen::default();
            let mut dice = Dice(client);
            while Instant::now() < until {
                let mut body = streamed(8 + dice.below(24) as usize);
                body["prompt"] = json!(format!("{client}: Once upon a time"));
                ask(&server, &body, pause.mul_f64(dice.below(100) as f64 / 50.0), &mut seen).await;
            }
            seen
        });
    }
    let mut all = Seen::default();
    for seen in clients.join_all().await {
        all.served += seen.served;
        all.refused += seen.refused;
        all.first.extend(seen.first);
    }
    all
}

/// Asks once; a refusal must say when to come again, and is followed by a far shorter wait.
async fn ask(server: &Running, body: &Value, pause: Duration, seen: &mut Seen) {
    let asked = Instant::now();
    let mut response = server.complete(body).await;
    match response.status().as_u16() {
        200 => {
            let mut text = response.chunk().await.unwrap().unwrap().to_vec();
            seen.first.push(asked.elapsed());
            while let Some(chunk) = response.chunk().await.unwrap() {
                text.extend(chunk);
            }
            assert!(text.ends_with(b"data: [DONE]\n\n"), "{}", String::from_utf8_lossy(&text));
            seen.served += 1;
        }
        429 | 503 => {
            let wait = response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            seen.refused += 1;
            tokio::time::sleep(pause).await;
        }
        status => panic!("{status}: {}", response.text().await.unwrap()),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_capacity_is_served_or_told_when_to_come_again() {
    let server = Arc::new(Running::small().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn({
        let (server, is_over) = (Arc::clone(&server), Arc::clone(&is_over));
        async move { server.watch_health(is_over).await }
    });
    // 12 clients fit: 4 run and 8 wait.
    let seconds = either(1, 10);
    let fitting = clients(&server, 12, Duration::from_secs(seconds as u64), Duration::from_millis(15)).await;
    let before = resident_mib();
    // The others are refused nine times while one request is served.
    let served_per_second = fitting.served as f64 / seconds as f64;
    let pause = Duration::from_secs_f64(108.0 / (9.0 * served_per_second.max(1.0)));
    let many = clients(&server, 120, Duration::from_secs(either(1, 60) as u64), pause).await;
    let after = resident_mib();
    is_over.store(true, Ordering::Relaxed);
    let longest = watching.await.unwrap();
    let (first_at_capacity, first) = (median(fitting.first), median(many.first));
    println!(
        "{} served, {} refused; first token at capacity {first_at_capacity:?}, then {first:?}; \
         health within {longest:?}; MiB {before:?}, then {after:?}",
        many.served, many.refused
    );
    assert!(many.served > 0 && many.refused > 0);
    if is_long() {
        assert!(longest < Duration::from_millis(50), "{longest:?}");
        assert!(first < first_at_capacity.mul_f64(1.5), "{first:?} instead of {first_at_capacity:?}");
        if let (Some(before), Some(after)) = (before, after) {
            assert!(after < before + 32, "memory grew from {before} to {after} MiB");
        }
    }
    server.nothing_is_left().await;
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_cut_at_any_phase_leave_nothing() {
    let server = Arc::new(Running::small().await);
    let mut clients = JoinSet::new();
    let n_clients = 10;
    for client in 0..n_clients {
        let server = Arc::clone(&server);
        clients.spawn(async move {
            let mut dice = Dice(7 + client);
            for _ in 0..either(20, 10_000) / n_clients as usize {
                cut_one(&server, &mut dice).await;
            }
        });
    }
    clients.join_all().await;
    server.nothing_is_left().await;
    // As many as ever are served.
    let mut body = story(2);
    body["n"] = json!(4);
    assert_eq!(server.complete(&body).await.status(), 200);
    Arc::into_inner(server).unwrap().stop().await;
}

/// Sends a request of some kind, and goes away at some time, or never.
async fn cut_one(server: &Running, dice: &mut Dice) {
    let mut body = streamed(1 + dice.below(200) as usize);
    match dice.below(4) {
        // A prompt of several steps.
        0 => body["prompt"] = json!("word ".repeat(50 + dice.below(100) as usize)),
        // A grammar, each a new one to compile.
        1 => {
            let field = format!("x{}", dice.below(1_000_000));
            let schema = json!({
                "type": "object",
                "properties": {&field: {"type": "array", "items": {"type": "integer"}}},
                "required": [field],
                "additionalProperties": false,
            });
            body["response_format"] =
                json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
            body["ignore_eos"] = json!(false);
        }
        2 => body["stream"] = json!(false),
        _ => {}
    }
    let answering = async {
        let response = server.complete(&body).await;
        match response.status().as_u16() {
            200 | 429 => read(response).await,
            status => panic!("{status}: {}", response.text().await.unwrap()),
        }
    };
    match dice.below(3) {
        0 => answering.await,
        1 => _ = tokio::time::timeout(Duration::from_millis(dice.below(40)), answering).await,
        // The reader stands still, then goes.
        _ => {
            let response = server.complete(&body).await;
            tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
            drop(response);
        }
    }
}

async fn read(mut response: Response) {
    while response.chunk().await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_and_slow_readers_hold_nobody_up() {
    let batching = BatchingConfig::new().max_batch_size(32);
    let server = Running::with_batching(ServerConfig::new("demo"), batching).await;
    server.ready().await;
    // The median of so many answers, alone and beside the others.
    let time = async || {
        let mut times = Vec::new();
        for _ in 0..either(1, 15) {
            let begun = Instant::now();
            read(server.complete(&streamed(either(50, 200))).await).await;
            times.push(begun.elapsed());
        }
        median(times)
    };
    time().await;
    let alone = time().await;
    let mut idle = Vec::new();
    for _ in 0..either(50, 1000) {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let mut slow = Vec::new();
    for _ in 0..either(5, 100) {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let body = streamed(either(200, 900)).to_string();
        let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        stream
            .write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
            .await
            .unwrap();
        slow.push(stream);
    }
    // The slow ones' answers are generated meanwhile, then wait in buffers.
    let beside = time().await;
    if is_long() {
        server.is_generated().await;
    }
    let after = time().await;
    println!("alone {alone:?}, beside slow readers' answers {beside:?}, then {after:?}");
    if is_long() {
        assert!(after < alone.mul_f64(1.1), "{after:?} instead of {alone:?}");
    }
    for mut stream in slow {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("data: [DONE]"), "{text}");
    }
    drop(idle);
    server.nothing_is_left().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_cut_that_the_grace_time_allows() {
    let mut server = Running::small().await;
    let mut streams = Vec::new();
    // As many as may wait before any has begun: 4 run at a time.
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let request = server.posting("/v1/completions", &streamed(100));
        asking.spawn(async move { request.send().await.unwrap() });
    }
    for response in asking.join_all().await {
        assert_eq!(response.status(), 200);
        streams.push(response);
    }
    server.ask_to_stop();
    for response in streams {
        let text = response.text().await.unwrap();
        assert!(text.trim_end().ends_with("data: [DONE]") && !text.contains("\"error\""), "{text}");
    }
    server.stopped().await;
}
