//! The channels of gpt-oss: `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`.
//!
//! What goes to the channel `analysis` is thought, what goes to a recipient (`to=functions.f`) is a call, and all else is the answer
//! (<https://cookbook.openai.com/articles/openai-harmony>). The prompt ends with `<|start|>assistant`.

use super::calls::Found;
use super::reasoning::{ReasoningFormat, open_end};

/// What ends a message. The last two end the answer too, and are usually not in its text.
const ENDS: [&str; 4] = ["<|end|>", "<|start|>", "<|call|>", "<|return|>"];
const MESSAGE: &str = "<|message|>";
/// What an answer begins with if it has a header.
const HEADS: [&str; 5] = ["<|channel|>", "<|start|>", "<|constrain|>", MESSAGE, "to="];

/// Reads the channels of an answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Harmony {
    state: State,
    held: String,
    reasoning: ReasoningFormat,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Beginning,
    Header,
    Thought,
    /// A thought that stays in the content, with its marks.
    KeptThought,
    Answer,
    Call,
}

impl Harmony {
    pub(super) fn new(reasoning: ReasoningFormat) -> Self {
        Self { reasoning, ..Self::default() }
    }

    pub(super) fn push(&mut self, text: &str, found: &mut Vec<Found>) {
        self.held.push_str(text);
        while self.advance(found) {}
    }

    pub(super) fn finish(&mut self, found: &mut Vec<Found>) {
        let rest = std::mem::take(&mut self.held);
        found.push(match self.state {
            State::Beginning | State::Answer | State::KeptThought => Found::Content(rest),
            State::Thought => Found::Reasoning(rest),
            State::Call => Found::Arguments(rest),
            // A header that was cut says nothing.
            State::Header => return,
        });
    }

    fn advance(&mut self, found: &mut Vec<Found>) -> bool {
        match self.state {
            State::Beginning => {
                let text = self.held.trim_start();
                if text.is_empty() || HEADS.iter().any(|head| head.starts_with(text) && *head != text) {
                    return false;
                }
                let has_header = HEADS.iter().any(|head| text.starts_with(head));
                self.state = if has_header { State::Header } else { State::Answer };
                true
            }
            State::Header => {
                let Some(end) = self.held.find(MESSAGE) else { return false };
                let header: String = self.held.drain(..end + MESSAGE.len()).collect();
                self.state = match begin(&header, found) {
                    State::Thought if self.reasoning == ReasoningFormat::InContent => {
                        found.push(Found::Content(header));
                        State::KeptThought
                    }
                    state => state,
                };
                true
            }
            State::Thought | State::KeptThought | State::Answer | State::Call => self.read_message(found),
        }
    }

    fn read_message(&mut self, found: &mut Vec<Found>) -> bool {
        let first = ENDS.iter().filter_map(|end| Some((self.held.find(end)?, end))).min();
        let n_open = ENDS.iter().map(|end| open_end(&self.held, end)).max().unwrap_or(0);
        let n_text = first.map_or(self.held.len() - n_open, |(start, _)| start);
        let text: String = self.held.drain(..n_text).collect();
        found.push(match self.state {
            State::Thought => Found::Reasoning(text),
            State::Call => Found::Arguments(text),
            _ => Found::Content(text),
        });
        let Some((_, end)) = first else { return false };
        if matches!(self.state, State::KeptThought) {
            found.push(Found::Content((*end).to_owned()));
        }
        self.held.drain(..end.len());
        self.state = State::Header;
        true
    }
}

/// What a message with this header is. Begins the call, if it is one.
fn begin(header: &str, found: &mut Vec<Found>) -> State {
    let recipient = header.split_once("to=").map(|(_, rest)| {
        let end = rest.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(rest.len());
        &rest[..end]
    });
    if let Some(name) = recipient.filter(|name| !name.is_empty()) {
        let name = name.strip_prefix("functions.").unwrap_or(name).to_owned();
        found.push(Found::Call { name, id: None });
        return State::Call;
    }
    match header.split_once("<|channel|>") {
        Some((_, channel)) if channel.trim_start().starts_with("analysis") => State::Thought,
        _ => State::Answer,
    }
}
