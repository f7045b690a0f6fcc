//! Answers, as one object or as lines of a stream.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, FinishReason, TokenEvent, TokenId};

use super::timestamp::timestamp;
use crate::chat::{Answer, Piece};
use crate::wire::openai::{Endpoint, Scored, logprobs};

/// Which endpoint's answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `/api/chat`: a message.
    Chat,
    /// `/api/generate`: a text.
    Generate,
}

/// What all lines of an answer have.
#[derive(Clone, Debug)]
pub struct AnswerHead {
    /// Which endpoint's it is.
    pub shape: Shape,
    /// The model as the client calls it.
    pub model: String,
    /// How long it took until the model was loaded.
    pub load: Duration,
    /// Whether the last line has the tokens so far, for a request that goes on from there.
    pub has_context: bool,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// With a completion.
    Complete(&'a Completion),
    /// Nothing was to be answered: the model was loaded.
    Loaded,
    /// Nothing was to be answered: the model is unloaded.
    Unloaded,
}

impl AnswerHead {
    fn line(&self, fields: Map<String, Value>, is_done: bool) -> Value {
        let mut line = json!({"model": self.model, "created_at": timestamp(SystemTime::now())});
        match self.shape {
            Shape::Chat => {
                let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
                message.extend(fields);
                line["message"] = message.into();
            }
            Shape::Generate => fields.into_iter().for_each(|(name, value)| line[name] = value),
        }
        line["done"] = is_done.into();
        line
    }

    /// The name of the text.
    fn text_field(&self) -> &'static str {
        match self.shape {
            Shape::Chat => "content",
            Shape::Generate => "response",
        }
    }

    fn text(&self, text: &str) -> Map<String, Value> {
        Map::from_iter([(self.text_field().to_owned(), text.into())])
    }

    /// The whole answer.
    pub fn object(
        &self,
        answer: &Answer,
        completion: &Completion,
        tokenizer: Option<&dyn Tokenizer>,
    ) -> Value {
        let mut fields = self.text(&answer.content);
        if !answer.reasoning.is_empty() {
            fields.insert("thinking".to_owned(), answer.reasoning.as_str().into());
        }
        let (calls, broken) = split_calls(&answer.calls);
        if !broken.is_empty() {
            fields.insert(self.text_field().to_owned(), format!("{}{broken}", answer.content).into());
        }
        if !calls.is_empty() {
            fields.insert("tool_calls".to_owned(), calls.into());
        }
        let mut line = self.line(fields, true);
        self.finish(&mut line, Outcome::Complete(completion));
        let pairs = completion.tokens.iter().zip(&completion.logprobs);
        let scored = pairs.map(|(token, of)| Scored::new(*token, of));
        set_logprobs(&mut line, &scored.collect::<Vec<_>>(), tokenizer);
        line
    }

    /// The last line, or the only one of an answer without text.
    pub fn last(&self, outcome: Outcome<'_>) -> Value {
        let mut line = self.line(self.text(""), true);
        self.finish(&mut line, outcome);
        line
    }

    /// Adds why the answer ended, counts, and durations in nanoseconds.
    fn finish(&self, line: &mut Value, outcome: Outcome<'_>) {
        let completion = match outcome {
            Outcome::Complete(completion) => completion,
            Outcome::Loaded => return line["done_reason"] = "load".into(),
            Outcome::Unloaded => return line["done_reason"] = "unload".into(),
        };
        line["done_reason"] = done_reason(completion.finish_reason).into();
        if self.has_context {
            let tokens = completion.prompt_tokens.iter().chain(&completion.tokens);
            line["context"] = tokens.map(|TokenId(id)| *id).collect();
        }
        let (usage, timings) = (completion.usage, completion.timings);
        line["total_duration"] = nanoseconds(self.load + timings.total);
        line["load_duration"] = nanoseconds(self.load);
        line["prompt_eval_count"] = usage.prompt_tokens.into();
        line["prompt_eval_duration"] = nanoseconds(timings.prefill);
        line["eval_count"] = usage.generated_tokens.into();
        line["eval_duration"] = nanoseconds(timings.decode);
    }
}

fn nanoseconds(time: Duration) -> Value {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).into()
}

fn done_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::ContextLimit | FinishReason::Timeout => "length",
        _ => "stop",
    }
}

fn set_logprobs(line: &mut Value, scored: &[Scored], tokenizer: Option<&dyn Tokenizer>) {
    if !scored.is_empty() {
        line["logprobs"] = logprobs(Endpoint::ChatCompletions, scored, 0, tokenizer)["content"].take();
    }
}

/// Calls as Ollama has them, and the text of those whose arguments are no object since the answer was cut.
fn split_calls(calls: &[crate::chat::ToolCall]) -> (Vec<Value>, String) {
    let mut broken = String::new();
    let mut whole = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        match serde_json::from_str::<Value>(arguments) {
            Ok(arguments @ Value::Object(_)) => whole.push(json!({
                "id": call.id,
                "function": {"index": index, "name": call.name, "arguments": arguments},
            })),
            _ => broken.push_str(&call.arguments),
        }
    }
    (whole, broken)
}

/// Writes the lines of a stream. A call is sent when it is complete, since its arguments are an object.
#[derive(Debug)]
pub struct AnswerWriter {
    head: AnswerHead,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    /// Log-probabilities of tokens whose text is still held back.
    pending: Vec<Scored>,
    calls: Answer,
}

impl AnswerWriter {
    /// A writer for an answer.
    pub fn new(head: AnswerHead, tokenizer: Option<Arc<dyn Tokenizer>>) -> Self {
        Self { head, tokenizer, pending: Vec::new(), calls: Answer::default() }
    }

    /// Notes the log-probability of a token.
    pub fn note(&mut self, event: &TokenEvent) {
        if let (Some(token), Some(logprob)) = (event.token, event.logprob)
            && (event.finish_reason.is_none() || !event.text.is_empty())
        {
            self.pending.push(Scored { token, logprob: Some(logprob), top: event.top_logprobs.clone() });
        }
    }

    /// The line for a piece, if it is due.
    pub fn piece(&mut self, piece: Piece) -> Option<Value> {
        let fields = match piece {
            Piece::Content(text) => self.head.text(&text),
            Piece::Reasoning(text) => {
                let mut fields = self.head.text("");
                fields.insert("thinking".to_owned(), text.into());
                fields
            }
            call => {
                self.calls.push(call);
                return None;
            }
        };
        let mut line = self.head.line(fields, false);
        set_logprobs(&mut line, &std::mem::take(&mut self.pending), self.tokenizer.as_deref());
        Some(line)
    }

    /// The lines after the last piece.
    pub fn end(&mut self, completion: &Completion) -> Vec<Value> {
        let (calls, broken) = split_calls(&self.calls.calls);
        let mut lines = Vec::new();
        if !broken.is_empty() {
            lines.push(self.head.line(self.head.text(&broken), false));
        }
        if !calls.is_empty() {
            let mut fields = self.head.text("");
            fields.insert("tool_calls".to_owned(), calls.into());
            lines.push(self.head.line(fields, false));
        }
        let mut last = self.head.last(Outcome::Complete(completion));
        set_logprobs(&mut last, &std::mem::take(&mut self.pending), self.tokenizer.as_deref());
        lines.push(last);
        lines
    }
}
