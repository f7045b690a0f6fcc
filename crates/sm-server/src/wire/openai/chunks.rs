//! Answers as streams: a chunk for each event of a choice.

use std::sync::Arc;

use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, TokenEvent};

use super::answer::usage;
use super::logprobs::{Scored, logprobs as scores};
use super::{ChatReading, Endpoint, ResponseHead, finish_reason, finish_reason_of_calls};
use crate::chat::{Piece, Splitter};

/// Writes the chunks of an answer.
#[derive(Debug)]
pub struct ChunkWriter {
    head: ResponseHead,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    includes_usage: bool,
    choices: Vec<Choice>,
}

/// What is not sent yet of a choice: log-probabilities of tokens whose text is still incomplete go out with the text.
#[derive(Clone, Debug)]
struct Choice {
    pending: Vec<Scored>,
    n_characters: usize,
    /// Reads the answer of a chat.
    splitter: Option<Splitter>,
}

impl ChunkWriter {
    /// A writer for an answer of `n` choices.
    pub fn new(
        head: ResponseHead,
        n: usize,
        reading: Option<&ChatReading>,
        tokenizer: Option<Arc<dyn Tokenizer>>,
        includes_usage: bool,
    ) -> Self {
        let choice = |index| Choice {
            pending: Vec::new(),
            n_characters: 0,
            splitter: reading.map(|reading| reading.format.splitter(reading.start, head.call_seed(index))),
        };
        let choices = (0..n).map(choice).collect();
        Self { head, tokenizer, includes_usage, choices }
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
        let pieces = choice.pieces(event);
        let mut reason = event.finish_reason.map(finish_reason);
        if choice.splitter.as_ref().is_some_and(|splitter| splitter.n_calls() > 0) {
            reason = reason.map(finish_reason_of_calls);
        }
        let mut logprobs = Value::Null;
        if !pieces.is_empty() || reason.is_some() {
            let pending = std::mem::take(&mut choice.pending);
            let before = choice.n_characters;
            choice.n_characters += event.text.chars().count();
            logprobs = scores(self.head.endpoint, &pending, before, self.tokenizer.as_deref());
        }
        let key = match self.head.endpoint {
            Endpoint::ChatCompletions => "delta",
            Endpoint::Completions => "text",
        };
        let index = event.choice;
        // Log-probabilities go with the first piece; those of tokens without one, with the end.
        for piece in pieces {
            let logprobs = std::mem::take(&mut logprobs);
            let choice = json!({"index": index, key: piece, "logprobs": logprobs, "finish_reason": null});
            chunks.push(self.chunk(json!([choice])));
        }
        if let Some(reason) = reason {
            let piece = if key == "delta" { json!({}) } else { json!("") };
            let choice = json!({"index": index, key: piece, "logprobs": logprobs, "finish_reason": reason});
            chunks.push(self.chunk(json!([choice])));
        }
        chunks
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

impl Choice {
    /// The new pieces of an event: texts, or deltas of a chat's message.
    fn pieces(&mut self, event: &TokenEvent) -> Vec<Value> {
        let Some(splitter) = &mut self.splitter else {
            return if event.text.is_empty() { Vec::new() } else { vec![event.text.as_str().into()] };
        };
        let mut pieces = splitter.push(&event.text);
        if event.finish_reason.is_some() {
            pieces.extend(splitter.finish());
        }
        pieces.into_iter().map(delta).collect()
    }
}

/// What a piece adds to the message.
fn delta(piece: Piece) -> Value {
    match piece {
        Piece::Content(text) => json!({ "content": text }),
        Piece::Reasoning(text) => json!({ "reasoning_content": text }),
        Piece::Call { index, id, name } => {
            let function = json!({"name": name, "arguments": ""});
            json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]})
        }
        Piece::Arguments { index, json } => {
            json!({"tool_calls": [{"index": index, "function": {"arguments": json}}]})
        }
    }
}
