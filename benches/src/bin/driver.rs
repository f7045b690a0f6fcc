//! Runs this engine by the protocol of `benches/peers/protocol.py`, like the other engines.
#![allow(clippy::print_stdout, reason = "the answers go to standard output")]

use std::io::BufRead;

use sm_benches::peers::{Answer, PACKED, Request, packed_dir};
use sm_runtime::{Bench, Device, ExecutorOptions, LoadOptions, Loader, ModelRef};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut bench = None;
    for line in std::io::stdin().lock().lines() {
        answer(run(&serde_json::from_str(&line?)?, &mut bench))?;
    }
    Ok(())
}

fn answer(result: Result<f64, Failure>) -> Result<(), serde_json::Error> {
    let answer = result.map_or_else(|error| Answer::Error(error.to_string()), Answer::Seconds);
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

/// Carries out a request. The first one has to load a model.
fn run(request: &Request, bench: &mut Option<Bench>) -> Result<f64, Failure> {
    let time = match (request, bench) {
        (Request::Load { .. }, Some(_)) => return Err("a model is already loaded".into()),
        (Request::Load { .. }, bench) => {
            let start = std::time::Instant::now();
            *bench = Some(load(request)?);
            start.elapsed()
        }
        (_, None) => return Err("the first request must load a model".into()),
        (Request::Prefill { n_tokens }, Some(bench)) => bench.prefill(*n_tokens, 0, 1)?,
        (Request::Decode { n_tokens, depth, n_sequences }, Some(bench)) => {
            bench.decode(*n_tokens, *depth, *n_sequences)?
        }
    };
    Ok(time.as_secs_f64())
}

fn load(request: &Request) -> Result<Bench, Failure> {
    let Request::Load { model, n_threads, context_len, n_sequences, setting } = request else {
        return Err("this request does not load a model".into());
    };
    let isa = (setting != "default" && setting != PACKED).then(|| setting.clone());
    let device = Device::Cpu { isa, threads: Some(*n_threads) };
    let mut options = LoadOptions::new().device(device).context_len(*context_len);
    if setting == PACKED {
        options = options.packed_dir(packed_dir(model.as_ref()));
    }
    let executor = ExecutorOptions::new().n_sequences(*n_sequences).max_outputs(*n_sequences);
    let model = Loader::new(ModelRef::named(model)).options(options).executor(executor.clone()).load()?;
    Ok(Bench::new(&model, &executor)?)
}
