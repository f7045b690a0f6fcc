//! A custom logits filter that makes the model tell its story in short words.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use std::sync::Arc;

use sm_runtime::sampling::{History, LogitsFilter};
use sm_runtime::{Engine, GenerationOptions, ModelRef, Prompt, Request};

/// Forbids long tokens.
#[derive(Debug)]
struct ShortTokens(Vec<bool>);

impl LogitsFilter for ShortTokens {
    fn apply(&self, logits: &mut [f32], _history: &mut History<'_>) {
        for (logit, is_short) in logits.iter_mut().zip(&self.0) {
            if !is_short {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

fn main() -> Result<(), sm_runtime::Error> {
    let engine = Engine::builder().load(ModelRef::Demo)?;
    let tokenizer = engine.tokenizer().ok_or(sm_runtime::Error::NoTokenizer)?;
    let vocabulary = tokenizer.vocabulary();
    let is_short = |id| vocabulary.token_bytes(sm_runtime::TokenId(id)).len() <= 4;
    let filter = ShortTokens((0..vocabulary.vocab_size() as u32).map(is_short).collect());

    let options = GenerationOptions::new().seed(3).max_new_tokens(60);
    let request = Request::new(Prompt::Text("Once upon a time".into()), options).filter(Arc::new(filter));
    let completions = engine.submit(request)?.wait()?;
    println!("Once upon a time{}", completions[0].text);
    Ok(())
}
