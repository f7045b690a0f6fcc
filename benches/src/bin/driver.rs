//! Runs this engine by the protocol of `benches/peers/protocol.py`, like the other engines.
#![allow(clippy::print_stdout, reason = "the answers go to standard output")]

use std::io::BufRead;

use sm_benches::peers::{Answer, PACKED, Request, packed_dir};
use sm_runtime::{Bench, LoadOptions, LoadedModel, ModelRef};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut model = None;
    let mut lines = std::io::stdin().lock().lines();
    // `Bench` borrows the model, so the first request is handled apart.
    let Some(first) = lines.next() else { return Ok(()) };
    answer(load(&serde_json::from_str(&first?)?, &mut model))?;
    let Some(model) = &mut model else { return Ok(()) };
    let mut bench = Bench::new(model);
    for line in lines {
        answer(time(&serde_json::from_str(&line?)?, &mut bench))?;
    }
    Ok(())
}

fn answer(result: Result<f64, Failure>) -> Result<(), serde_json::Error> {
    let answer = result.map_or_else(|error| Answer::Error(error.to_string()), Answer::Seconds);
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

fn load(request: &Request, loaded: &mut Option<LoadedModel>) -> Result<f64, Failure> {
    let Request::Load { model, n_threads, context_len, n_sequences, setting } = request else {
        return Err("the first request must load a model".into());
    };
    let options = LoadOptions {
        context_len: Some(*context_len),
        n_threads: Some(*n_threads),
        isa: (setting != "default" && setting != PACKED).then(|| setting.clone()),
        packed_dir: (setting == PACKED).then(|| packed_dir(model.as_ref())),
        max_outputs: *n_sequences,
        n_sequences: *n_sequences,
        ..LoadOptions::default()
    };
    let start = std::time::Instant::now();
    *loaded = Some(LoadedModel::load(ModelRef::named(model.as_ref()), &options, &|_| ())?);
    Ok(start.elapsed().as_secs_f64())
}

fn time(request: &Request, bench: &mut Bench<'_>) -> Result<f64, Failure> {
    let time = match *request {
        Request::Load { .. } => return Err("a model is loaded already".into()),
        Request::Prefill { n_tokens } => bench.prefill(n_tokens, 0, 1)?,
        Request::Decode { n_tokens, depth, n_sequences } => bench.decode(n_tokens, depth, n_sequences)?,
    };
    Ok(time.as_secs_f64())
}
