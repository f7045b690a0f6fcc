//! Runs candle's quantized llama by the protocol of `benches/peers/protocol.py`.
#![allow(clippy::print_stdout, reason = "the answers go to standard output")]

use std::fs::File;
use std::io::BufRead;
use std::time::Instant;

use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut engine = None;
    for line in std::io::stdin().lock().lines() {
        let answer = match answer(&serde_json::from_str(&line?)?, &mut engine) {
            Ok(seconds) => json!({ "seconds": seconds }),
            Err(error) => json!({ "error": error.to_string() }),
        };
        println!("{answer}");
    }
    Ok(())
}

fn answer(request: &Value, engine: &mut Option<Engine>) -> Result<f64, Failure> {
    let number = |name: &str| {
        let value = request[name].as_u64().ok_or_else(|| format!("{name} is missing"))?;
        Ok::<_, String>(value as usize)
    };
    let call = request["call"].as_str().unwrap_or_default();
    if call == "load" {
        let start = Instant::now();
        *engine = Some(Engine::load(request["model"].as_str().unwrap_or_default())?);
        return Ok(start.elapsed().as_secs_f64());
    }
    let engine = engine.as_mut().ok_or("no model is loaded")?;
    match call {
        "prefill" => engine.prefill(number("n_tokens")?),
        "decode" if number("n_sequences")? > 1 => Err("its cache only supports one sequence".into()),
        "decode" => engine.decode(number("n_tokens")?, number("depth")?),
        other => Err(format!("unknown call {other:?}").into()),
    }
}

struct Engine {
    model: ModelWeights,
    vocab_size: u64,
    random: u64,
}

impl Engine {
    fn load(path: &str) -> Result<Self, Failure> {
        let mut file = File::open(path)?;
        let content = gguf_file::Content::read(&mut file)?;
        let tokens = content.metadata.get("tokenizer.ggml.tokens").ok_or("the file has no vocabulary")?;
        let vocab_size = tokens.to_vec()?.len() as u64;
        let model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
        Ok(Self { model, vocab_size, random: 1 })
    }

    fn prefill(&mut self, n_tokens: usize) -> Result<f64, Failure> {
        let tokens = self.draw(n_tokens);
        let start = Instant::now();
        self.run(&tokens, 0)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn decode(&mut self, n_tokens: usize, depth: usize) -> Result<f64, Failure> {
        if depth > 0 {
            let tokens = self.draw(depth);
            self.run(&tokens, 0)?;
        }
        let tokens = self.draw(n_tokens);
        let start = Instant::now();
        for (position, token) in (depth..).zip(tokens) {
            self.run(&[token], position)?;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Computes tokens from `position` on; position 0 resets the cache.
    fn run(&mut self, tokens: &[u32], position: usize) -> Result<(), Failure> {
        let tokens = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        self.model.forward(&tokens, position)?;
        Ok(())
    }

    /// Pseudo-random tokens (Knuth's MMIX constants); the first three of a vocabulary are special.
    fn draw(&mut self, n_tokens: usize) -> Vec<u32> {
        let mut token = || {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (3 + (self.random >> 33) % (self.vocab_size - 3)) as u32
        };
        (0..n_tokens).map(|_| token()).collect()
    }
}
