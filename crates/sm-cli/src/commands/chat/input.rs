//! The lines of a chat: edited on a terminal, or read from a pipe.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::{
    Cmd, ConditionalEventHandler, Config, DefaultEditor, Event, EventContext, EventHandler, KeyEvent,
    Movement, RepeatCount,
};

use super::history::{History, MAX_LINES};
use crate::console::Console;
use crate::failure::Failure;
use crate::prompt::{BYTE_ORDER_MARK, utf8};
use crate::shown::shown;

/// What begins and ends a message of several lines.
const QUOTES: &str = "\"\"\"";

/// Where lines come from.
#[derive(Debug)]
pub(super) enum Input {
    /// A person, with line editing and history.
    Editor {
        editor: Box<DefaultEditor>,
        /// Where the lines are saved.
        history: Option<History>,
    },
    /// A file or a pipe, and whether its first line was read.
    Pipe { has_begun: bool },
}

/// What a person has typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A message or a command.
    Line(String),
    /// What stood between quotes, which is a message whatever it begins with.
    Quoted(String),
}

impl Input {
    /// The editor if stdin is a terminal. A history that cannot be read counts as empty.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub(super) fn open(history: Option<PathBuf>) -> Result<Self, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Pipe { has_begun: false });
        }
        // The line is edited on the terminal even if stdout is redirected.
        let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true);
        let config = config.max_history_size(MAX_LINES).map_err(terminal)?.build();
        let mut editor = DefaultEditor::with_config(config).map_err(terminal)?;
        editor.bind_sequence(KeyEvent::ctrl('c'), EventHandler::Conditional(Box::new(DiscardLine)));
        let history = history.map(History::open);
        if let Some(history) = &history {
            let _ = editor.load_history(history.path());
        }
        Ok(Self::Editor { editor: Box::new(editor), history })
    }

    /// What is typed next, or `None` at the end. A line that ends with a backslash goes on in the next one, and three quotation marks
    /// begin and end a message of several lines.
    ///
    /// # Errors
    /// If the terminal or the pipe fails.
    pub(super) fn next(&mut self, console: &Console) -> Result<Option<Typed>, Failure> {
        let Some(first) = self.line("> ", console)? else { return Ok(None) };
        if let Some(quoted) = first.trim_start().strip_prefix(QUOTES) {
            return self.quoted(quoted, console).map(Some);
        }
        let mut text = String::new();
        let mut line = first;
        while let Some(begun) = line.strip_suffix('\\') {
            text.push_str(begun);
            text.push('\n');
            match self.line("... ", console)? {
                Some(next) => line = next,
                None => return Ok(Some(Typed::Line(text))),
            }
        }
        Ok(Some(Typed::Line(text + &line)))
    }

    /// The rest of a message between quotes. The end of the input ends it too.
    fn quoted(&mut self, first: &str, console: &Console) -> Result<Typed, Failure> {
        let mut lines: Vec<String> = Vec::new();
        let mut line = first.to_owned();
        loop {
            if let Some(last) = line.trim_end().strip_suffix(QUOTES) {
                lines.push(last.to_owned());
                break;
            }
            lines.push(line);
            match self.line("... ", console)? {
                Some(next) => line = next,
                None => break,
            }
        }
        Ok(Typed::Quoted(lines.join("\n").trim().to_owned()))
    }

    /// The next line without its end, or `None` at the end.
    fn line(&mut self, prompt: &str, console: &Console) -> Result<Option<String>, Failure> {
        match self {
            Self::Editor { editor, history } => match editor.readline(prompt) {
                Ok(line) => {
                    save(&line, history, console);
                    Ok(Some(line))
                }
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                Err(error) => Err(terminal(error)),
            },
            Self::Pipe { has_begun } => {
                let is_first = !std::mem::replace(has_begun, true);
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_until(b'\n', &mut bytes);
                let n_read = read.map_err(|source| Failure::Stream { action: "read stdin", source })?;
                if n_read == 0 {
                    return Ok(None);
                }
                let line = utf8(bytes, || "stdin".to_owned())?;
                let line = if is_first { line.trim_start_matches(BYTE_ORDER_MARK) } else { &line };
                let line = line.strip_suffix('\n').unwrap_or(line);
                Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }
}

/// Saves a line. What cannot be saved once is not tried again.
fn save(line: &str, history: &mut Option<History>, console: &Console) {
    if let Some(open) = history
        && let Err(error) = open.append(line)
    {
        console.note(format_args!("cannot write the history to {}: {error}", shown(open.path())));
        *history = None;
    }
}

fn terminal(error: ReadlineError) -> Failure {
    Failure::Stream { action: "use the terminal", source: io::Error::other(error) }
}

/// Ctrl-C clears a line. On an empty line it ends the chat, which is the editor's default.
struct DiscardLine;

impl ConditionalEventHandler for DiscardLine {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        if context.line().is_empty() { None } else { Some(Cmd::Kill(Movement::WholeBuffer)) }
    }
}
