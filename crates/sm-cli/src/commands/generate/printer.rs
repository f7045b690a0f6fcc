//! Prints concurrently generated outputs one after another.

use std::num::NonZeroUsize;

use sm_runtime::{Completion, TokenEvent};

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

/// An output not completely printed.
#[derive(Clone, Debug, Default)]
struct Output {
    /// Text to print when its turn comes.
    pending: String,
    is_complete: bool,
}

impl<'a> Printer<'a> {
    /// A printer for numbered outputs, or for a single unnumbered one if `None`.
    pub(super) fn new(n_outputs: Option<NonZeroUsize>, console: &'a Console) -> Self {
        let outputs = vec![Output::default(); n_outputs.map_or(1, NonZeroUsize::get)];
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
        let output = &mut self.outputs[index];
        output.pending.push_str(piece);
        output.is_complete |= is_complete;
        while let Some(output) = self.outputs.get_mut(self.current) {
            self.console.piece(&output.pending)?;
            output.pending.clear();
            if !output.is_complete {
                break;
            }
            self.current += 1;
            self.begin()?;
        }
        Ok(())
    }
}
