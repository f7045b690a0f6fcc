//! Messages as streams, in the order of <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use serde_json::{Value, json};
use sm_runtime::Completion;

use super::answer::{MessageHead, SIGNATURE, stop_reason, usage};
use crate::chat::Piece;

/// An event: its name, which its data repeat as `type`.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// Its name.
    pub name: &'static str,
    /// Its data.
    pub data: Value,
}

impl StreamEvent {
    fn new(name: &'static str, mut data: Value) -> Self {
        data["type"] = name.into();
        Self { name, data }
    }

    /// An event that only says that the stream is alive.
    pub fn ping() -> Self {
        Self::new("ping", json!({}))
    }
}

/// The kind of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thinking,
    Text,
    /// A call by its index.
    Call(usize),
}

/// Writes the events of a message.
#[derive(Debug)]
pub struct StreamWriter {
    head: MessageHead,
    /// Tokens of the prompt.
    n_prompt: usize,
    open: Option<Kind>,
    /// The index of the next block.
    n_blocks: usize,
    has_calls: bool,
}

impl StreamWriter {
    /// A writer for an answer to a prompt of `n_prompt` tokens.
    pub fn new(head: MessageHead, n_prompt: usize) -> Self {
        Self { head, n_prompt, open: None, n_blocks: 0, has_calls: false }
    }

    /// The events before the first block. How much of the prompt is cached, the end tells.
    pub fn begin(&self) -> [StreamEvent; 2] {
        let usage = json!({
            "input_tokens": self.n_prompt,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        });
        let message = self.head.object(&[], &usage);
        [StreamEvent::new("message_start", json!({"message": message})), StreamEvent::ping()]
    }

    /// The events of a piece.
    pub fn piece(&mut self, piece: Piece, events: &mut Vec<StreamEvent>) {
        match piece {
            Piece::Reasoning(text) => {
                let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                self.open(Kind::Thinking, &block, events);
                if !self.head.omits_thoughts {
                    self.delta(&json!({"type": "thinking_delta", "thinking": text}), events);
                }
            }
            Piece::Content(text) => {
                self.open(Kind::Text, &json!({"type": "text", "text": ""}), events);
                self.delta(&json!({"type": "text_delta", "text": text}), events);
            }
            Piece::Call { index, id, name } => {
                self.has_calls = true;
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.open(Kind::Call(index), &block, events);
            }
            Piece::Arguments { json, .. } => {
                self.delta(&json!({"type": "input_json_delta", "partial_json": json}), events);
            }
        }
    }

    /// Begins a block, unless one of its kind is open.
    fn open(&mut self, kind: Kind, block: &Value, events: &mut Vec<StreamEvent>) {
        if self.open == Some(kind) {
            return;
        }
        self.close(events);
        self.open = Some(kind);
        let data = json!({"index": self.n_blocks, "content_block": block});
        events.push(StreamEvent::new("content_block_start", data));
    }

    fn delta(&self, delta: &Value, events: &mut Vec<StreamEvent>) {
        let data = json!({"index": self.n_blocks, "delta": delta});
        events.push(StreamEvent::new("content_block_delta", data));
    }

    fn close(&mut self, events: &mut Vec<StreamEvent>) {
        let Some(kind) = self.open.take() else { return };
        if kind == Kind::Thinking {
            self.delta(&json!({"type": "signature_delta", "signature": SIGNATURE}), events);
        }
        events.push(StreamEvent::new("content_block_stop", json!({"index": self.n_blocks})));
        self.n_blocks += 1;
    }

    /// The events after the last piece.
    pub fn end(&mut self, completion: &Completion, events: &mut Vec<StreamEvent>) {
        self.close(events);
        let delta = json!({
            "stop_reason": stop_reason(completion.finish_reason, self.has_calls),
            "stop_sequence": completion.stop_sequence,
        });
        let data = json!({"delta": delta, "usage": usage(&completion.usage)});
        events.push(StreamEvent::new("message_delta", data));
        events.push(StreamEvent::new("message_stop", json!({})));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_begin_and_end_one_after_the_other() {
        let head = MessageHead { id: "1".to_owned(), model: "demo".to_owned(), omits_thoughts: false };
        let mut writer = StreamWriter::new(head, 7);
        let mut events = writer.begin().to_vec();
        assert_eq!(events[0].data["message"]["usage"]["input_tokens"], 7);
        for piece in [
            Piece::Reasoning("Hm".to_owned()),
            Piece::Reasoning("m".to_owned()),
            Piece::Content("I look.".to_owned()),
            Piece::Call { index: 0, id: "a".to_owned(), name: "weather".to_owned() },
            Piece::Arguments { index: 0, json: "{}".to_owned() },
            Piece::Call { index: 1, id: "b".to_owned(), name: "time".to_owned() },
        ] {
            writer.piece(piece, &mut events);
        }
        writer.close(&mut events);
        let seen: Vec<(&str, Option<u64>)> =
            events.iter().map(|event| (event.name, event.data["index"].as_u64())).collect();
        let (start, delta, stop) = ("content_block_start", "content_block_delta", "content_block_stop");
        assert_eq!(
            seen,
            [
                ("message_start", None),
                ("ping", None),
                (start, Some(0)),
                (delta, Some(0)),
                (delta, Some(0)),
                (delta, Some(0)), // the signature
                (stop, Some(0)),
                (start, Some(1)),
                (delta, Some(1)),
                (stop, Some(1)),
                (start, Some(2)),
                (delta, Some(2)),
                (stop, Some(2)),
                (start, Some(3)),
                (stop, Some(3)),
            ]
        );
        assert!(events.iter().all(|event| event.data["type"] == event.name));
    }
}
