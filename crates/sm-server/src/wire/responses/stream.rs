//! The items of a response as they come, and the events that tell of them.

use std::sync::Arc;

use serde_json::{Value, json};
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{Completion, TokenEvent};

use super::object::{ResponseHead, is_cut};
use crate::chat::Piece;
use crate::wire::llamacpp::{RunningTimings, prompt_progress};
use crate::wire::openai::{Endpoint, Scored, logprobs};

/// An event: its name, which its data repeat as `type`.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemEvent {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
}

/// The item that is being made.
#[derive(Debug)]
struct Open {
    kind: Kind,
    id: String,
    /// What has come of its text or arguments.
    text: String,
    logprobs: Vec<Value>,
    /// Id and name of a call.
    call: (String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Message,
    Call,
}

/// Makes the items of a response from the parts of its answer.
#[derive(Debug)]
pub struct ItemWriter {
    head: ResponseHead,
    tokenizer: Option<Arc<dyn Tokenizer>>,
    items: Vec<Value>,
    open: Option<Open>,
    n_events: u64,
    /// Log-probabilities of tokens whose text is still held back.
    pending: Vec<Scored>,
    n_tokens: usize,
    /// How many tokens came before the last thought ended.
    n_thought: usize,
    telemetry: Telemetry,
    timings: RunningTimings,
}

/// What llama.cpp's server adds to events for those who ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telemetry {
    /// Whether events with text, and the last one, tell how long it took.
    pub has_timings: bool,
    /// Whether there are events that tell how far the prompt is.
    pub reports_progress: bool,
}

impl ItemWriter {
    /// A writer for a response.
    pub fn new(head: ResponseHead, tokenizer: Option<Arc<dyn Tokenizer>>, telemetry: Telemetry) -> Self {
        Self {
            telemetry,
            timings: RunningTimings::default(),
            head,
            tokenizer,
            items: Vec::new(),
            open: None,
            n_events: 0,
            pending: Vec::new(),
            n_tokens: 0,
            n_thought: 0,
        }
    }

    fn event(&mut self, name: &str, mut data: Value, events: &mut Vec<ItemEvent>) {
        let is_timed = matches!(name, "output_text.delta" | "completed" | "incomplete");
        if let Some(timings) = self.timings.value().filter(|_| self.telemetry.has_timings && is_timed) {
            data["timings"] = timings;
        }
        let name = format!("response.{name}");
        data["type"] = name.as_str().into();
        data["sequence_number"] = self.n_events.into();
        self.n_events += 1;
        events.push(ItemEvent { name, data });
    }

    /// The events before the first item.
    pub fn begin(&mut self, events: &mut Vec<ItemEvent>) {
        for name in ["created", "in_progress"] {
            let response = self.head.in_progress();
            self.event(name, json!({"response": response}), events);
        }
    }

    /// Notes an event of the engine.
    pub fn note(&mut self, event: &TokenEvent, events: &mut Vec<ItemEvent>) {
        self.timings.note(event);
        if let Some(progress) = event.prefill.filter(|_| self.telemetry.reports_progress) {
            let data =
                json!({"response": self.head.in_progress(), "prompt_progress": prompt_progress(progress)});
            self.event("in_progress", data, events);
        }
        let is_text = event.finish_reason.is_none() || !event.text.is_empty();
        self.n_tokens += usize::from(event.token.is_some() && is_text);
        if let (Some(token), Some(logprob)) = (event.token, event.logprob)
            && is_text
        {
            self.pending.push(Scored { token, logprob: Some(logprob), top: event.top_logprobs.clone() });
        }
    }

    /// Log-probabilities that were noted.
    fn take_logprobs(&mut self) -> Vec<Value> {
        let pending = std::mem::take(&mut self.pending);
        match logprobs(Endpoint::ChatCompletions, &pending, 0, self.tokenizer.as_deref())["content"].take() {
            Value::Array(list) => list,
            _ => Vec::new(),
        }
    }

    /// The events of a piece.
    pub fn piece(&mut self, piece: Piece, events: &mut Vec<ItemEvent>) {
        match piece {
            Piece::Reasoning(text) => {
                self.n_thought = self.n_tokens;
                self.pending.clear();
                self.open(Kind::Reasoning, None, events);
                self.add(&text, Vec::new(), events);
            }
            Piece::Content(text) => {
                let logprobs = self.take_logprobs();
                self.open(Kind::Message, None, events);
                self.add(&text, logprobs, events);
            }
            Piece::Call { id, name, .. } => {
                self.pending.clear();
                self.open(Kind::Call, Some((id, name)), events);
            }
            Piece::Arguments { json, .. } => {
                self.pending.clear();
                self.add(&json, Vec::new(), events);
            }
        }
    }

    /// Begins an item, unless one of its kind is open.
    fn open(&mut self, kind: Kind, call: Option<(String, String)>, events: &mut Vec<ItemEvent>) {
        if kind != Kind::Call && self.open.as_ref().is_some_and(|open| open.kind == kind) {
            return;
        }
        self.close("completed", events);
        let prefix = match kind {
            Kind::Reasoning => "rs",
            Kind::Message => "msg",
            Kind::Call => "fc",
        };
        let id = format!("{prefix}_{}_{}", self.head.id, self.items.len());
        let call = call.unwrap_or_default();
        let open = Open { kind, id, text: String::new(), logprobs: Vec::new(), call };
        let data = json!({"output_index": self.items.len(), "item": open.item("in_progress", false)});
        self.event("output_item.added", data, events);
        if let Some(part) = open.part() {
            let data = self.placed(&open, json!({"part": part}));
            self.event("content_part.added", data, events);
        }
        self.open = Some(open);
    }

    /// The data of an event that belongs to the open item.
    fn placed(&self, open: &Open, mut data: Value) -> Value {
        data["item_id"] = open.id.as_str().into();
        data["output_index"] = self.items.len().into();
        if open.kind != Kind::Call {
            data["content_index"] = 0.into();
        }
        data
    }

    fn add(&mut self, text: &str, logprobs: Vec<Value>, events: &mut Vec<ItemEvent>) {
        let Some(mut open) = self.open.take() else { return };
        open.text.push_str(text);
        let mut data = self.placed(&open, json!({"delta": text}));
        if open.kind == Kind::Message {
            data["logprobs"] = logprobs.as_slice().into();
        }
        open.logprobs.extend(logprobs);
        self.event(&format!("{}.delta", open.noun()), data, events);
        self.open = Some(open);
    }

    fn close(&mut self, status: &str, events: &mut Vec<ItemEvent>) {
        let Some(open) = self.open.take() else { return };
        let field = if open.kind == Kind::Call { "arguments" } else { "text" };
        let mut data = self.placed(&open, json!({ field: open.text }));
        match open.kind {
            Kind::Message => data["logprobs"] = open.logprobs.as_slice().into(),
            Kind::Call => data["name"] = open.call.1.as_str().into(),
            Kind::Reasoning => {}
        }
        self.event(&format!("{}.done", open.noun()), data, events);
        if let Some(part) = open.part() {
            let data = self.placed(&open, json!({"part": part}));
            self.event("content_part.done", data, events);
        }
        let item = open.item(status, true);
        let data = json!({"output_index": self.items.len(), "item": item});
        self.event("output_item.done", data, events);
        self.items.push(item);
    }

    /// The events after the last piece, and the object of the response.
    pub fn end(&mut self, completion: &Completion, now: u64, events: &mut Vec<ItemEvent>) -> Value {
        let (status, name) = match is_cut(completion.finish_reason) {
            true => ("incomplete", "incomplete"),
            false => ("completed", "completed"),
        };
        self.close(status, events);
        let response = self.head.ended(&self.items, completion, self.n_thought, now);
        self.event(name, json!({"response": response}), events);
        response
    }

    /// The events after a failure.
    pub fn fail(&mut self, message: &str, events: &mut Vec<ItemEvent>) {
        self.close("incomplete", events);
        let response = self.head.failed(&self.items, message);
        self.event("failed", json!({"response": response}), events);
    }
}

impl Open {
    /// What events of its content are called.
    fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Reasoning => "reasoning_text",
            Kind::Message => "output_text",
            Kind::Call => "function_call_arguments",
        }
    }

    /// Its only part, if it has parts.
    fn part(&self) -> Option<Value> {
        match self.kind {
            Kind::Reasoning => Some(json!({"type": "reasoning_text", "text": self.text})),
            Kind::Message => Some(json!({
                "type": "output_text",
                "text": self.text,
                "annotations": [],
                "logprobs": self.logprobs,
            })),
            Kind::Call => None,
        }
    }

    /// The item, with its content or before it has any.
    fn item(&self, status: &str, has_content: bool) -> Value {
        let content: Vec<Value> = self.part().into_iter().filter(|_| has_content).collect();
        let (call_id, name) = &self.call;
        match self.kind {
            Kind::Reasoning => json!({
                "id": self.id,
                "type": "reasoning",
                "status": status,
                "summary": [],
                "content": content,
                "encrypted_content": null,
            }),
            Kind::Message => json!({
                "id": self.id,
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": content,
            }),
            Kind::Call => json!({
                "id": self.id,
                "type": "function_call",
                "status": status,
                "call_id": call_id,
                "name": name,
                "arguments": self.text,
            }),
        }
    }
}
