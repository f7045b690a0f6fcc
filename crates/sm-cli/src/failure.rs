//! What ends a command early, how it is told, and with which exit code.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of a command line that cannot be right; also clap's.
const USAGE: u8 = 2;
/// Exit code of an interrupted command: 128 + SIGINT, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// An option of the runtime has an impossible value.
    #[error("invalid value for {flag}: {message}")]
    Option {
        /// The option as the user knows it.
        flag: &'static str,
        /// What is wrong with its value.
        message: String,
    },
    /// The model cannot be written.
    #[error(transparent)]
    Export(#[from] sm_runtime::model::ExportError),
    /// A file is in the way.
    #[error("{} exists; choose another name or replace it with --force", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file for answers is there already.
    #[error("{} exists; go on behind its answers with --resume, or replace it with --force", path.display())]
    AnswersExist {
        /// The file.
        path: PathBuf,
    },
    /// A file holds something else than the answers to these requests.
    #[error(
        "line {number} of {} is not the answer to request {number}; name another file, or replace it with --force",
        path.display()
    )]
    OtherAnswers {
        /// The file.
        path: PathBuf,
        /// The line, from 1; requests are counted without blank lines.
        number: u64,
    },
    /// A text cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] sm_runtime::model::tokenizer::TokenizerError),
    /// An id lies beyond the vocabulary.
    #[error("there is no token {id}; the last one of this vocabulary is {last}")]
    NoSuchToken {
        /// The id.
        id: u32,
        /// The last one.
        last: usize,
    },
    /// There is no prompt for a conversation.
    #[error(transparent)]
    Chat(#[from] sm_runtime::model::chat::ChatError),
    /// A chat needs a template that the model does not bring.
    #[error("{reason}; sm chat --raw continues your lines as plain text")]
    NoChatTemplate {
        /// What is wrong with it.
        reason: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(sm_runtime::Error),
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`, ….
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A text is not UTF-8.
    #[error("{origin} is not UTF-8 at byte {offset}; convert it first, for instance with iconv")]
    NotUtf8 {
        /// Where the text came from.
        origin: String,
        /// The first wrong byte.
        offset: usize,
    },
    /// A standard stream failed.
    #[error("cannot {action}")]
    Stream {
        /// `read standard input`, ….
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The reader of our output went away, as in `sm generate | head`: nothing to complain about.
    #[error("standard output is closed")]
    OutputClosed,
    /// Ctrl-C, after what was done so far was shown.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Fills [`Failure::File`]; for `map_err`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }

    /// Whether the user needs no word about it.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::OutputClosed | Self::Interrupted)
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Interrupted => INTERRUPTED.into(),
            Self::Usage(_) | Self::Option { .. } | Self::Engine(sm_runtime::Error::Load(sm_runtime::LoadError::NoDemoModel)) => {
                USAGE.into()
            }
            _ => FAILED.into(),
        }
    }

    /// The message and its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Some libraries repeat the cause in their own message.
            if !line.ends_with(&message) {
                write!(line, ": {message}").expect("writing to a string cannot fail");
            }
            cause = error.source();
        }
        line
    }
}

/// The options that have another name on the command line than in the engine.
const FLAGS: [(&str, &str); 13] = [
    ("temperature", "--temp"),
    ("top_k", "--top-k"),
    ("top_p", "--top-p"),
    ("min_p", "--min-p"),
    ("repetition_penalty", "--repeat-penalty"),
    ("presence_penalty", "--presence-penalty"),
    ("frequency_penalty", "--frequency-penalty"),
    ("max_new_tokens", "-n"),
    ("stop", "--stop"),
    ("isa", "--isa"),
    ("ignore_eos", "--ignore-eos"),
    ("max_draft_len", "--draft-len"),
    ("kv_disk", "--kv-disk"),
];

impl From<sm_runtime::Error> for Failure {
    fn from(error: sm_runtime::Error) -> Self {
        match error {
            sm_runtime::Error::Validation { field, message } => {
                match FLAGS.iter().find(|(name, _)| *name == field) {
                    Some((_, flag)) => Self::Option { flag, message },
                    None => Self::Engine(sm_runtime::Error::Validation { field, message }),
                }
            }
            other => Self::Engine(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_names_the_file_and_the_cause() {
        let gone = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::file("read", Path::new("a.txt"))(gone);
        assert_eq!(failure.chain(), "cannot read a.txt: no such file");
    }
}
