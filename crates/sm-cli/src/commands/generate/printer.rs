//! Prints concurrently generated outputs one after another.

use std::num::NonZeroUsize;

use sm_runtime::{Completion, TokenEvent};
use sm_server::chat::reasoning::{Part, Splitter};

use crate::console::Console;
use crate::failure::Failure;

/// Prints a single output as is, or several, each below a line with its number.
#[derive(Debug)]
pub(super) struct Printer<'a> {
    console: &'a Console,
    is_numbered: bool,
    outputs: Vec<Output>,
    /// The output being streamed. Those before it are complete.
    current: usize,
}

/// An output that is not printed completely.
#[derive(Clone, Debug)]
struct Output {
    splitter: Splitter,
    /// What is shown when its turn comes: thoughts on stderr, then the answer on stdout.
    thought: String,
    pending: String,
    has_thought: bool,
    is_complete: bool,
}

impl<'a> Printer<'a> {
    /// A printer of numbered outputs, or of one without a number if `None`.
    pub(super) fn new(n_outputs: Option<NonZeroUsize>, splitter: Splitter, console: &'a Console) -> Self {
        let output = Output {
            splitter,
            thought: String::new(),
            pending: String::new(),
            has_thought: false,
            is_complete: false,
        };
        let outputs = vec![output; n_outputs.map_or(1, NonZeroUsize::get)];
        Self { console, is_numbered: n_outputs.is_some(), outputs, current: 0 }
    }

    /// Prints the line above the current output, if there is one and outputs are numbered.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        if !self.is_numbered || self.current >= self.outputs.len() {
            return Ok(());
        }
        let newline = if self.current > 0 { "\n" } else { "" };
        let number = self.current + 1;
        self.console.line(format_args!("{newline}--- {number} of {} ---", self.outputs.len()))
    }

    /// Prints an output's new text, or keeps it until its turn comes.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(super) fn push(&mut self, event: &TokenEvent) -> Result<(), Failure> {
        self.append(event.choice, &event.text, event.finish_reason.is_some())
    }

    /// Prints whole outputs.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(super) fn push_all(&mut self, completions: &[Completion]) -> Result<(), Failure> {
        completions.iter().enumerate().try_for_each(|(index, each)| self.append(index, &each.text, true))
    }

    /// Ends the last line, unless the output is a single text piped to a program.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(super) fn end(&self) -> Result<(), Failure> {
        if self.is_numbered || self.console.is_terminal() { self.console.piece("\n") } else { Ok(()) }
    }

    fn append(&mut self, index: usize, piece: &str, is_complete: bool) -> Result<(), Failure> {
        self.outputs[index].push(piece, is_complete);
        while let Some(output) = self.outputs.get_mut(self.current) {
            self.console.thought(&std::mem::take(&mut output.thought));
            self.console.piece(&std::mem::take(&mut output.pending))?;
            if !output.is_complete {
                break;
            }
            self.current += 1;
            self.begin()?;
        }
        Ok(())
    }
}

impl Output {
    fn push(&mut self, piece: &str, is_complete: bool) {
        let mut parts = self.splitter.push(piece);
        if is_complete {
            parts.extend(self.splitter.finish());
        }
        self.is_complete |= is_complete;
        for (part, text) in parts {
            match part {
                Part::Thought => {
                    self.has_thought = true;
                    self.thought.push_str(&text);
                }
                Part::Answer => {
                    // The thoughts end with their line.
                    if std::mem::take(&mut self.has_thought) {
                        self.thought.push('\n');
                    }
                    self.pending.push_str(&text);
                }
            }
        }
    }
}
