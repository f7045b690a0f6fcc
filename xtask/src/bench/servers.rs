//! `cargo xtask bench --servers`: `sm serve` beside llama-server, on the same file, driven by `sm bench serve`.
//!
//! Both servers run all the time, and idle ones sleep; they take turns, A B B A, so that both see the same minutes. What counts is
//! the ratio within a turn. Nothing is sampled, and every answer has its full length.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::setup;
use crate::spawn::{self, cargo, command, root, target};

/// A load: its name and what `sm bench serve` is told.
struct Load {
    name: &'static str,
    n_prompts: usize,
    concurrency: usize,
    dataset: &'static [&'static str],
}

const RANDOM: &[&str] =
    &["--dataset-name", "random", "--random-input-len", "128", "--random-output-len", "64"];
const PREFIXES: &[&str] = &[
    "--dataset-name",
    "prefix_repetition",
    "--prefix-repetition-prefix-len",
    "384",
    "--prefix-repetition-suffix-len",
    "32",
    "--prefix-repetition-num-prefixes",
    "4",
    "--prefix-repetition-output-len",
    "32",
];

const LOADS: [Load; 4] = [
    Load { name: "1 at a time", n_prompts: 12, concurrency: 1, dataset: RANDOM },
    Load { name: "8 at a time", n_prompts: 48, concurrency: 8, dataset: RANDOM },
    Load { name: "32 at a time", n_prompts: 96, concurrency: 32, dataset: RANDOM },
    Load { name: "8 at a time, 4 shared prefixes", n_prompts: 48, concurrency: 8, dataset: PREFIXES },
];

/// What is compared: the field of the result, and whether more of it is better.
const FIGURES: [(&str, &str, bool); 4] = [
    ("tok/s", "output_throughput", true),
    ("TTFT ms", "median_ttft_ms", false),
    ("TPOT ms", "median_tpot_ms", false),
    ("ITL ms", "median_itl_ms", false),
];

/// Sequences at a time, and the context of each.
const N_SLOTS: usize = 32;
const CONTEXT: usize = 1024;

/// Runs every load on both servers; the argument is the number of turns.
pub(super) fn run(args: &[String]) -> Outcome {
    let n_turns: u64 = match args {
        [] => 2,
        [turns] => turns.parse().map_err(|_| format!("{turns:?} is no number of turns"))?,
        _ => return Err("takes at most the number of turns".to_owned()),
    };
    let theirs = setup::llama_server();
    if !theirs.exists() {
        return Err(format!("{} is missing; cargo xtask setup --peers builds it", theirs.display()));
    }
    spawn::run("build", &mut cargo(&["build", "--release", "--locked", "-p", "sm-cli"]))?;
    setup::models()?;
    let model = quantized()?;
    let servers = [ours(&model)?, llama(&theirs, &model)?];
    println!("| load | figure | sm | llama-server | sm is better by |\n|---|---|---|---|---|");
    for load in &LOADS {
        let mut turns = Vec::new();
        for turn in 0..n_turns {
            // A seed of its own for each turn, since both servers keep prompts.
            let mut results = [Value::Null, Value::Null];
            let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
            for server in order {
                results[server] = measure(&servers[server], load, &model, turn)?;
            }
            turns.push(results);
        }
        print(load, &turns);
    }
    Ok(())
}

/// SmolLM2-135M in Q4_0, which both engines run fast.
fn quantized() -> Result<PathBuf, String> {
    let model = setup::smollm2();
    let quantized = model.with_extension("Q4_0.gguf");
    if !quantized.exists() {
        let mut quantize = sm();
        quantize.arg("quantize").args([&model, &quantized]).args(["--type", "q4_0", "-q"]);
        spawn::run("quantize", &mut quantize)?;
    }
    Ok(quantized)
}

fn sm() -> Command {
    command(&target().join("release/sm").to_string_lossy(), &[])
}

/// A server, until it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has no state that a sudden end could harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ours(model: &Path) -> Result<Server, String> {
    let mut serve = sm();
    serve.arg("serve").arg("-m").arg(model).args(["--parallel", &N_SLOTS.to_string()]);
    serve.args(["--context", &CONTEXT.to_string()]);
    start(serve)
}

fn llama(program: &Path, model: &Path) -> Result<Server, String> {
    let mut serve = command(&program.to_string_lossy(), &[]);
    serve.arg("-m").arg(model).args(["--parallel", &N_SLOTS.to_string(), "--log-disable"]);
    // It divides its context among its slots.
    serve.args(["--ctx-size", &(N_SLOTS * CONTEXT).to_string()]);
    start(serve)
}

/// Starts a server on a free port, and waits until its model is loaded.
fn start(mut serve: Command) -> Result<Server, String> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(|error| error.to_string())?.port();
    serve.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    let name = format!("{:?}", serve.get_program());
    let child = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut server = Server { child: child.map_err(|error| format!("{name}: {error}"))?, port };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if let Ok(Some(status)) = server.child.try_wait() {
            return Err(format!("{name} ended with {status}"));
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() && is_healthy(port) {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(format!("{name} is not healthy after a minute"))
}

/// Whether the server says that it is well; llama-server does only once the model is loaded.
fn is_healthy(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let asked = stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// Runs a load; its result as `sm bench serve` saves it.
fn measure(server: &Server, load: &Load, model: &Path, turn: u64) -> Result<Value, String> {
    let folder = target().join("servers");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let mut bench = sm();
    bench.args(["bench", "serve", "-q", "--ignore-eos", "--save-result", "--result-filename", "result.json"]);
    bench.arg("--result-dir").arg(&folder).arg("--tokenizer").arg(model).args(load.dataset);
    bench.args(["--port", &server.port.to_string(), "--num-prompts", &load.n_prompts.to_string()]);
    bench.args(["--max-concurrency", &load.concurrency.to_string(), "--seed", &(turn + 1).to_string()]);
    spawn::output(bench.current_dir(root()))?;
    let text = std::fs::read_to_string(folder.join("result.json")).map_err(|error| error.to_string())?;
    let result: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match result["completed"].as_u64() {
        Some(completed) if completed == load.n_prompts as u64 => Ok(result),
        completed => Err(format!("{}: {completed:?} of {} were answered", load.name, load.n_prompts)),
    }
}

fn print(load: &Load, turns: &[[Value; 2]]) {
    for (name, field, more_is_better) in FIGURES {
        let of =
            |server: usize| turns.iter().map(move |turn| turn[server][field].as_f64().unwrap_or(f64::NAN));
        let ratios =
            of(0).zip(of(1)).map(|(ours, theirs)| if more_is_better { ours / theirs } else { theirs / ours });
        let [ours, theirs] = [median(of(0).collect()), median(of(1).collect())];
        let ratios: Vec<f64> = ratios.collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        println!(
            "| {} | {name} | {ours:.1} | {theirs:.1} | {:.2} ({least:.2}–{most:.2}) |",
            load.name,
            median(ratios)
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
