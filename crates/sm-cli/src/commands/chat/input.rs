//! Chat input: edited on a terminal or read from a pipe.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::config::Behavior;
use rustyline::error::ReadlineError;
use rustyline::{
    Cmd, ConditionalEventHandler, Config, DefaultEditor, Event, EventContext, EventHandler, KeyEvent,
    Movement, RepeatCount,
};

use crate::console::Console;
use crate::failure::Failure;
use crate::prompt::utf8;

/// The source of lines.
#[derive(Debug)]
pub(super) enum Input {
    /// A terminal, with line editing and history.
    Editor {
        editor: Box<DefaultEditor>,
        /// The history file.
        history: Option<PathBuf>,
    },
    /// A file or a pipe.
    Pipe,
}

impl Input {
    /// The editor if stdin is a terminal. A history that cannot be read counts as empty.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub(super) fn open(history: Option<PathBuf>) -> Result<Self, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        // The line is edited on the terminal even if stdout is redirected.
        let config = Config::builder().behavior(Behavior::PreferTerm).auto_add_history(true).build();
        let mut editor = DefaultEditor::with_config(config).map_err(terminal)?;
        editor.bind_sequence(KeyEvent::ctrl('c'), EventHandler::Conditional(Box::new(DiscardLine)));
        if let Some(path) = &history {
            let _ = editor.load_history(path);
        }
        Ok(Self::Editor { editor: Box::new(editor), history })
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// If the terminal or the pipe fails.
    pub(super) fn line(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Self::Editor { editor, .. } => match editor.readline("> ") {
                Ok(line) => Ok(Some(line)),
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                Err(error) => Err(terminal(error)),
            },
            Self::Pipe => {
                let mut bytes = Vec::new();
                let read = io::stdin().lock().read_until(b'\n', &mut bytes);
                let n_read = read.map_err(|source| Failure::Stream { action: "read stdin", source })?;
                if n_read == 0 { Ok(None) } else { utf8(bytes, || "stdin".to_owned()).map(Some) }
            }
        }
    }

    /// Saves the history.
    pub(super) fn close(self, console: &Console) {
        let Self::Editor { mut editor, history: Some(path) } = self else { return };
        let directory = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = directory.map_err(ReadlineError::from).and_then(|()| editor.save_history(&path));
        if let Err(error) = saved {
            console.note(format_args!("cannot write the history to {}: {error}", path.display()));
        }
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
