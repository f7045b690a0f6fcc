//! Answers as streams: a chunk for each event of a choice.

use std::sync::Arc;

use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, TokenEvent};

use super::answer::usage;
use super::logprobs::{Scored, logprobs};
use super::{Endpoint, ResponseHead, finish_reason};

/// Writes the chunks of an answer.
#[derive(Debug)]
pub struct ChunkWriter {
    head: ResponseHead,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    includes_usage: bool,
    choices: Vec<Choice>,
}

/// What is not sent yet of a choice: log-probabilities of tokens whose text is still incomplete go out with the text.
#[derive(Clone, Debug, Default)]
struct Choice {
    pending: Vec<Scored>,
    n_characters: usize,
}

impl ChunkWriter {
    /// A writer for an answer of `n` choices.
    pub fn new(
        head: ResponseHead,
        n: usize,
        tokenizer: Option<Arc<dyn Tokenizer>>,
        includes_usage: bool,
    ) -> Self {
        Self { head, tokenizer, includes_usage, choices: vec![Choice::default(); n] }
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.head.object(true);
        chunk["choices"] = choices;
        if self.includes_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// The chunks before the first token: whose turn it is, for each choice of a chat.
    pub fn begin(&self) -> Vec<Value> {
        match self.head.endpoint {
            Endpoint::ChatCompletions => (0..self.choices.len())
                .map(|index| {
                    let delta = json!({"role": "assistant", "content": "", "refusal": null});
                    self.chunk(
                        json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]),
                    )
                })
                .collect(),
            Endpoint::Completions => Vec::new(),
        }
    }

    /// The chunks of an event: of its text, if it has any, and of the end, which is a chunk of its own as many clients expect.
    pub fn event(&mut self, event: &TokenEvent) -> Vec<Value> {
        let mut chunks = Vec::new();
        let Some(choice) = self.choices.get_mut(event.choice) else {
            return chunks;
        };
        if let (Some(token), Some(logprob)) = (event.token, event.logprob) {
            // The token that ends an answer is no part of it.
            if event.finish_reason.is_none() || !event.text.is_empty() {
                choice.pending.push(Scored { token, logprob, top: event.top_logprobs.clone() });
            }
        }
        if !event.text.is_empty() {
            let pending = std::mem::take(&mut choice.pending);
            let before = choice.n_characters;
            choice.n_characters += event.text.chars().count();
            let logprobs = logprobs(self.head.endpoint, &pending, before, self.tokenizer.as_deref());
            chunks.push(self.piece(event.choice, Some(&event.text), &logprobs, None));
        }
        if let Some(reason) = event.finish_reason {
            chunks.push(self.piece(event.choice, None, &Value::Null, Some(finish_reason(reason))));
        }
        chunks
    }

    fn piece(&self, index: usize, text: Option<&str>, logprobs: &Value, reason: Option<&str>) -> Value {
        let choice = match self.head.endpoint {
            Endpoint::ChatCompletions => {
                let delta = text.map_or_else(|| json!({}), |text| json!({"content": text}));
                json!({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason})
            }
            Endpoint::Completions => {
                let text = text.unwrap_or_default();
                json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
            }
        };
        self.chunk(json!([choice]))
    }

    /// The chunk after the last event, with the usage, if it was asked for.
    pub fn end(&self, completions: &[Completion]) -> Option<Value> {
        self.includes_usage.then(|| {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = usage(&self.head, completions);
            chunk
        })
    }
}
