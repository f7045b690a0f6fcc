//! Tells the parts of an answer apart while it arrives.

use super::ToolForm;
use super::calls::{CallReader, Found};
use super::harmony::Harmony;
use super::ids::CallIds;
use super::reading::Reading;
use super::reasoning::{self, AnswerStart, Part, ReasoningFormat};

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What the model thinks.
    Reasoning(String),
    /// What it says.
    Content(String),
    /// A call begins.
    Call {
        /// Which call of the answer it is, from 0.
        index: usize,
        /// Names the call in the message with its result.
        id: String,
        /// The tool.
        name: String,
    },
    /// The next piece of a call's arguments.
    Arguments {
        /// The call.
        index: usize,
        /// A piece of JSON.
        json: String,
    },
}

/// Takes the text of an answer in pieces, and gives what is certain of it.
#[derive(Clone, Debug)]
pub struct Splitter {
    reader: Reader,
    ids: CallIds,
    n_calls: usize,
    /// Whether every answer is a call, with thoughts apart. A grammar allows nothing else then, so what is neither is the beginning of
    /// a call or of a mark that a limit has cut: no text that clients should show to people.
    must_call: bool,
}

/// What finds the parts.
#[derive(Clone, Debug)]
enum Reader {
    /// Thoughts come first, and calls are marked in the rest.
    Marked(reasoning::Splitter, Option<Box<CallReader>>),
    Harmony(Harmony),
}

impl Splitter {
    pub(super) fn new(reading: &Reading, start: AnswerStart, seed: u64) -> Self {
        let reader = match reading.form {
            ToolForm::Harmony => Reader::Harmony(Harmony::new(reading.reasoning)),
            _ => {
                let calls = (!reading.tools.is_empty()).then(|| Box::new(CallReader::new(reading)));
                let thoughts = match reading.reasoning {
                    ReasoningFormat::Apart => reasoning::Splitter::after(start),
                    ReasoningFormat::InContent => reasoning::Splitter::of_plain_text(),
                };
                Reader::Marked(thoughts, calls)
            }
        };
        let must_call = reading.must_call && reading.reasoning == ReasoningFormat::Apart;
        Self { reader, ids: CallIds::new(reading.form, seed), n_calls: 0, must_call }
    }

    /// Takes the next piece of the text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut found = Vec::new();
        match &mut self.reader {
            Reader::Harmony(harmony) => harmony.push(text, &mut found),
            Reader::Marked(thoughts, calls) => read(thoughts.push(text), calls, &mut found),
        }
        self.pieces(found)
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut found = Vec::new();
        match &mut self.reader {
            Reader::Harmony(harmony) => harmony.finish(&mut found),
            Reader::Marked(thoughts, calls) => {
                read(thoughts.finish(), calls, &mut found);
                if let Some(calls) = calls {
                    calls.finish(&mut found);
                }
            }
        }
        self.pieces(found)
    }

    /// How many calls have begun.
    pub fn n_calls(&self) -> usize {
        self.n_calls
    }

    /// Numbers the calls, and joins neighbours of a kind.
    fn pieces(&mut self, found: Vec<Found>) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for found in found {
            match (found, pieces.last_mut()) {
                (Found::Reasoning(text) | Found::Content(text) | Found::Arguments(text), _)
                    if text.is_empty() => {}
                (Found::Content(_), _) if self.must_call => {}
                (Found::Reasoning(text), Some(Piece::Reasoning(last)))
                | (Found::Content(text), Some(Piece::Content(last)))
                | (Found::Arguments(text), Some(Piece::Arguments { json: last, .. })) => last.push_str(&text),
                (Found::Reasoning(text), _) => pieces.push(Piece::Reasoning(text)),
                (Found::Content(text), _) => pieces.push(Piece::Content(text)),
                (Found::Call { name, id }, _) => {
                    let index = self.n_calls;
                    self.n_calls += 1;
                    let id = id.unwrap_or_else(|| self.ids.id(index, &name));
                    pieces.push(Piece::Call { index, id, name });
                }
                (Found::Arguments(json), _) => {
                    let index = self.n_calls.saturating_sub(1);
                    pieces.push(Piece::Arguments { index, json });
                }
            }
        }
        pieces
    }
}

fn read(parts: Vec<(Part, String)>, calls: &mut Option<Box<CallReader>>, found: &mut Vec<Found>) {
    for (part, text) in parts {
        match (part, &mut *calls) {
            (Part::Thought, _) => found.push(Found::Reasoning(text)),
            (Part::Answer, Some(calls)) => calls.push(&text, found),
            (Part::Answer, None) => found.push(Found::Content(text)),
        }
    }
}
