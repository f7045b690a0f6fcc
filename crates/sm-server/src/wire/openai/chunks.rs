//! Answers as streams: a chunk for each event of a choice.

use serde_json::{Value, json};
use sm_runtime::{Completion, FinishReason, PrefillProgress, TokenEvent, TokenId};

use super::answer::{self, add_llamacpp, usage};
use super::logprobs::{Scored, logprobs as scores};
use super::{AnswerShape, Endpoint, finish_reason, finish_reason_of_calls};
use crate::chat::{Piece, Splitter};
use crate::interval::Interval;
use crate::wire::llamacpp::{RunningTimings, prompt_progress};

/// Writes the chunks of an answer.
#[derive(Debug)]
pub struct ChunkWriter {
    shape: AnswerShape,
    choices: Vec<Choice>,
    /// Tokens of the prompt, if they are known.
    n_prompt: Option<usize>,
    timings: RunningTimings,
}

/// What is not sent yet of a choice: log-probabilities of tokens whose text is still incomplete go out with the text.
#[derive(Clone, Debug)]
struct Choice {
    pending: Vec<Scored>,
    /// Ids that are not sent yet.
    ids: Vec<TokenId>,
    n_characters: usize,
    n_tokens: usize,
    interval: Interval,
    /// Reads the answer of a chat.
    splitter: Option<Splitter>,
    hides_reasoning: bool,
}

impl ChunkWriter {
    /// A writer for an answer to `n_prompts` prompts, of `n_prompt` tokens if there is only one.
    pub fn new(shape: AnswerShape, n_prompts: usize, n_prompt: Option<usize>) -> Self {
        let choice = |index| Choice {
            pending: Vec::new(),
            ids: Vec::new(),
            n_characters: 0,
            n_tokens: 0,
            interval: Interval::new(1),
            splitter: shape
                .reading
                .as_ref()
                .map(|reading| reading.format.splitter(reading.start, shape.head.call_seed(index))),
            hides_reasoning: shape.extras.hides_reasoning,
        };
        let choices = (0..n_prompts * shape.n_choices).map(choice).collect();
        Self { shape, choices, n_prompt, timings: RunningTimings::default() }
    }

    /// Sends the text of so many tokens at a time.
    pub(crate) fn at_intervals(mut self, n_tokens: usize) -> Self {
        self.choices.iter_mut().for_each(|choice| choice.interval = Interval::new(n_tokens));
        self
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = self.shape.head.object(true);
        chunk["choices"] = choices;
        match self.n_prompt {
            Some(prompt_tokens) if self.shape.extras.has_running_usage => {
                let completion_tokens: usize = self.choices.iter().map(|choice| choice.n_tokens).sum();
                chunk["usage"] = json!({
                    "prompt_tokens": prompt_tokens,
                    "completion_tokens": completion_tokens,
                    "total_tokens": prompt_tokens + completion_tokens,
                });
            }
            _ if self.shape.extras.includes_usage => chunk["usage"] = Value::Null,
            _ => {}
        }
        if let Some(timings) = self.timings.value().filter(|_| self.shape.extras.has_timings) {
            chunk["timings"] = timings;
        }
        chunk
    }

    /// The chunks before the first token: whose turn it is, for each choice of a chat.
    pub fn begin(&self) -> Vec<Value> {
        match self.shape.head.endpoint {
            Endpoint::ChatCompletions => (0..self.choices.len())
                .map(|index| {
                    let delta = json!({"role": "assistant", "content": null, "refusal": null});
                    self.chunk(
                        json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]),
                    )
                })
                .collect(),
            Endpoint::Completions => Vec::new(),
        }
    }

    /// The chunk that tells how far the prompt is, if it was asked for.
    fn progress(&self, progress: PrefillProgress) -> Option<Value> {
        self.shape.extras.reports_progress.then(|| {
            let mut chunk = self.chunk(json!([]));
            chunk["prompt_progress"] = prompt_progress(progress);
            chunk
        })
    }

    /// The chunks of an event: of its text, if it has any, and of the end, which is a chunk of its own as many clients expect.
    pub fn event(&mut self, event: &TokenEvent) -> Vec<Value> {
        self.timings.note(event);
        if let Some(progress) = event.prefill {
            return self.progress(progress).into_iter().collect();
        }
        let Some(choice) = self.choices.get_mut(event.choice) else {
            return Vec::new();
        };
        // The token that ends an answer is no part of it.
        let token = event.token.filter(|_| event.finish_reason.is_none() || !event.text.is_empty());
        if let Some(token) = token {
            choice.n_tokens += 1;
            choice.ids.push(token);
            if event.logprob.is_some() {
                choice.pending.push(Scored {
                    token,
                    logprob: event.logprob,
                    top: event.top_logprobs.clone(),
                });
            }
        }
        let text = choice.interval.text(event);
        self.text_chunks(event.choice, &text, event.finish_reason)
    }

    /// The chunks of text that is held, of an answer that ends without a last token.
    pub fn rest(&mut self) -> Vec<Value> {
        let texts: Vec<_> = self.choices.iter_mut().map(|choice| choice.interval.rest()).collect();
        let chunks = |(index, text): (usize, &String)| self.text_chunks(index, text, None);
        texts.iter().enumerate().flat_map(chunks).collect()
    }

    fn text_chunks(&mut self, index: usize, text: &str, end: Option<FinishReason>) -> Vec<Value> {
        let choice = &mut self.choices[index];
        let pieces = choice.pieces(text, end.is_some());
        let mut reason = end.map(finish_reason);
        if choice.splitter.as_ref().is_some_and(|splitter| splitter.n_calls() > 0) {
            reason = reason.map(finish_reason_of_calls);
        }
        let (mut logprobs, mut ids) = (Value::Null, Vec::new());
        if !pieces.is_empty() || reason.is_some() {
            let pending = std::mem::take(&mut choice.pending);
            ids = std::mem::take(&mut choice.ids);
            let before = choice.n_characters;
            choice.n_characters += text.chars().count();
            logprobs = scores(self.shape.head.endpoint, &pending, before, self.shape.tokenizer.as_deref());
        }
        let key = match self.shape.head.endpoint {
            Endpoint::ChatCompletions => "delta",
            Endpoint::Completions => "text",
        };
        let mut pieces: Vec<(Value, Option<&str>)> = pieces.into_iter().map(|piece| (piece, None)).collect();
        if reason.is_some() {
            pieces.push((if key == "delta" { json!({}) } else { json!("") }, reason));
        }
        // Log-probabilities and ids go with the first piece; those of tokens without one, with the end.
        let mut chunks = Vec::with_capacity(pieces.len());
        for (piece, reason) in pieces {
            let logprobs = std::mem::take(&mut logprobs);
            let mut choice =
                json!({"index": index, key: piece, "logprobs": logprobs, "finish_reason": reason});
            if self.shape.extras.has_token_ids {
                choice["token_ids"] = answer::ids(&std::mem::take(&mut ids));
            }
            chunks.push(self.chunk(json!([choice])));
        }
        chunks
    }

    /// The chunk after the last event, with the usage, if it was asked for.
    pub fn end(&self, completions: &[Completion]) -> Option<Value> {
        self.shape.extras.includes_usage.then(|| {
            let mut chunk = self.chunk(json!([]));
            chunk["usage"] = usage(&self.shape, completions);
            if let Some(first) = completions.first() {
                add_llamacpp(&self.shape, first, &mut chunk);
            }
            chunk
        })
    }
}

impl Choice {
    /// The pieces that text adds: texts, or deltas of a chat's message.
    fn pieces(&mut self, text: &str, is_end: bool) -> Vec<Value> {
        let Some(splitter) = &mut self.splitter else {
            return if text.is_empty() { Vec::new() } else { vec![text.into()] };
        };
        let mut pieces = splitter.push(text);
        if is_end {
            pieces.extend(splitter.finish());
        }
        let is_shown = |piece: &Piece| !(self.hides_reasoning && matches!(piece, Piece::Reasoning(_)));
        pieces.into_iter().filter(is_shown).map(delta).collect()
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
