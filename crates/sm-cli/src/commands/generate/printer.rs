//! Continuations on standard output, one after the other, though they grow at the same time.

use std::num::NonZeroUsize;

use sm_runtime::{Completion, TokenEvent};

use crate::console::Console;
use crate::failure::Failure;

/// Prints one text as it is, or several of them, each under a line with its number.
#[derive(Debug)]
pub(super) struct Printer<'a> {
    console: &'a Console,
    /// Whether there are lines with numbers.
    is_numbered: bool,
    texts: Vec<Text>,
    /// The text that is printed as it grows; those before it are over.
    current: usize,
}

/// A text that was not printed to its end.
#[derive(Clone, Debug, Default)]
struct Text {
    /// What is to be printed when its turn comes.
    held: String,
    is_over: bool,
}

impl<'a> Printer<'a> {
    /// For so many texts; for one without a number if `None`.
    pub(super) fn new(n_texts: Option<NonZeroUsize>, console: &'a Console) -> Self {
        let texts = vec![Text::default(); n_texts.map_or(1, NonZeroUsize::get)];
        Self { console, is_numbered: n_texts.is_some(), texts, current: 0 }
    }

    /// Prints the line before the current text, if there are lines and such a text.
    ///
    /// # Errors
    /// If standard output is closed or fails.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        if !self.is_numbered || self.current >= self.texts.len() {
            return Ok(());
        }
        let (line_end, number) = (if self.current > 0 { "\n" } else { "" }, self.current + 1);
        self.console.line(format_args!("{line_end}--- {number} of {} ---", self.texts.len()))
    }

    /// Prints what a text grew by, or keeps it until its turn comes.
    ///
    /// # Errors
    /// If standard output is closed or fails.
    pub(super) fn push(&mut self, event: &TokenEvent) -> Result<(), Failure> {
        self.take(event.choice, &event.text, event.finish_reason.is_some())
    }

    /// Prints texts of which nothing was printed.
    ///
    /// # Errors
    /// If standard output is closed or fails.
    pub(super) fn push_all(&mut self, completions: &[Completion]) -> Result<(), Failure> {
        completions.iter().enumerate().try_for_each(|(index, each)| self.take(index, &each.text, true))
    }

    /// Ends the last line, if it has to end.
    ///
    /// # Errors
    /// If standard output is closed or fails.
    pub(super) fn end(&self) -> Result<(), Failure> {
        let has_line_end = self.is_numbered || self.console.is_terminal();
        if has_line_end { self.console.piece("\n") } else { Ok(()) }
    }

    fn take(&mut self, index: usize, piece: &str, is_over: bool) -> Result<(), Failure> {
        let text = &mut self.texts[index];
        text.held.push_str(piece);
        text.is_over |= is_over;
        while let Some(text) = self.texts.get_mut(self.current) {
            self.console.piece(&text.held)?;
            text.held.clear();
            if !text.is_over {
                break;
            }
            self.current += 1;
            self.begin()?;
        }
        Ok(())
    }
}
