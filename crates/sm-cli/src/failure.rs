//! Command failures: messages and exit codes.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::shown::shown;

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of a usage error, the same as clap's.
const USAGE: u8 = 2;
/// Exit code of an interrupted command: 128 + SIGINT, as in shells.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Invalid usage.
    #[error("{0}")]
    Usage(String),
    /// An option has an invalid value.
    #[error("invalid value for {flag}: {message}")]
    Option {
        /// The command-line flag.
        flag: &'static str,
        /// What is wrong with the value.
        message: String,
    },
    /// Requests of a batch failed, with `--fail-on-error`.
    #[error("{n_failed} requests failed; their answers say why")]
    Requests {
        /// How many.
        n_failed: u64,
    },
    /// A model of the hub cannot be found or fetched.
    #[error(transparent)]
    Hub(#[from] sm_hub::HubError),
    /// A model is no path, and nobody agreed to fetch it.
    #[error(
        "{name} is neither a path nor among the models in {}; fetch it with `sm pull {name}`",
        shown(cache)
    )]
    NotFetched {
        /// The name.
        name: String,
        /// The folder of the cache.
        cache: PathBuf,
    },
    /// The model cannot be exported.
    #[error(transparent)]
    Export(#[from] sm_runtime::model::ExportError),
    /// The output file exists.
    #[error("{} already exists; choose another name or replace it with --force", shown(path))]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file of answers exists.
    #[error("{} already exists; continue it with --resume or replace it with --force", shown(path))]
    AnswersExist {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold the answers to these requests.
    #[error(
        "line {number} of {} is not the answer to request {number}; choose another file or replace it with --force",
        shown(path)
    )]
    OtherAnswers {
        /// The file.
        path: PathBuf,
        /// The line, from 1. Blank lines of the requests are not counted.
        number: u64,
    },
    /// There are no threads to be had.
    #[error("cannot start the threads of the server: {0}")]
    Threads(#[source] io::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[source] io::Error),
    /// The server cannot start or go on.
    #[error(transparent)]
    Server(#[from] sm_server::ServerError),
    /// There is no server, or it does not answer as it should.
    #[error("{url} does not answer: {reason}; is the server running, and is that its address?")]
    Unreachable {
        /// Its address.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The server answers that it is not well.
    #[error("{url} answers {answer}")]
    NotWell {
        /// What was asked.
        url: String,
        /// What it says.
        answer: String,
    },
    /// The first request of a benchmark failed, as the others would.
    #[error("the first request failed: {reason}")]
    WarmUp {
        /// What the server said.
        reason: String,
    },
    /// All requests of a benchmark failed.
    #[error("all {n} requests failed")]
    AllRequestsFailed {
        /// How many.
        n: usize,
    },
    /// A file of prompts is malformed.
    #[error("cannot use {} as a dataset: {message}", shown(path))]
    Dataset {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A text cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] sm_runtime::model::tokenizer::TokenizerError),
    /// A token id is out of range.
    #[error("token {id} is out of range; the last token of this vocabulary is {last}")]
    NoSuchToken {
        /// The id.
        id: u32,
        /// The last one.
        last: usize,
    },
    /// A text cannot be embedded.
    #[error("text {number}")]
    Text {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        source: sm_runtime::Error,
    },
    /// The model has no usable chat template.
    #[error("{reason}; sm chat --raw continues your lines as plain text")]
    NoChatTemplate {
        /// What is wrong.
        reason: String,
    },
    /// The runtime failed.
    #[error(transparent)]
    Engine(sm_runtime::Error),
    /// A file cannot be read or written.
    #[error("cannot {action} {}", shown(path))]
    File {
        /// `read`, `write`, ….
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A text is not UTF-8.
    #[error("{origin} is not UTF-8 at byte {offset}; convert it first, for example with iconv")]
    NotUtf8 {
        /// Where the text came from.
        origin: String,
        /// The first invalid byte.
        offset: usize,
    },
    /// A standard stream failed.
    #[error("cannot {action}")]
    Stream {
        /// `read stdin`, ….
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The reader of stdout went away, as in `sm generate | head`. Not the user's error.
    #[error("stdout is closed")]
    OutputClosed,
    /// Ctrl-C was pressed. Results so far have been shown.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Creates a [`Failure::File`], for `map_err`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }

    /// Whether to show no message.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::OutputClosed | Self::Interrupted)
    }

    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Interrupted => INTERRUPTED.into(),
            Self::Usage(_)
            | Self::Option { .. }
            | Self::Hub(sm_hub::HubError::Reference { .. })
            | Self::Engine(sm_runtime::Error::Load(sm_runtime::LoadError::NoDemoModel)) => USAGE.into(),
            _ => FAILED.into(),
        }
    }

    /// The message and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Some errors already include their cause.
            if !line.ends_with(&message) {
                write!(line, ": {message}").expect("writing to a string cannot fail");
            }
            cause = error.source();
        }
        line
    }
}

/// Runtime options and their flags.
const FLAGS: [(&str, &str); 36] = [
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
    ("device", "--device"),
    ("threads", "-t"),
    ("ignore_eos", "--ignore-eos"),
    ("max_draft_len", "--draft-len"),
    ("kv_disk", "--kv-disk"),
    ("allowed_tokens", "--allow-token"),
    ("bad_words", "--bad-word"),
    ("logit_bias", "--logit-bias"),
    ("top_n_sigma", "--top-nsigma"),
    ("typical_p", "--typical"),
    ("xtc.probability", "--xtc-probability"),
    ("xtc.threshold", "--xtc-threshold"),
    ("dry.multiplier", "--dry-multiplier"),
    ("dry.base", "--dry-base"),
    ("dry.sequence_breakers", "--dry-sequence-breaker"),
    ("dynamic_temperature.range", "--dynatemp-range"),
    ("dynamic_temperature.exponent", "--dynatemp-exp"),
    ("mirostat.tau", "--mirostat-ent"),
    ("mirostat.eta", "--mirostat-lr"),
    ("samplers", "--samplers"),
    ("stop_token_ids", "--stop-token"),
    ("min_new_tokens", "--min-tokens"),
    ("max_input_tokens", "--max-prompt-tokens"),
    ("max_length", "--max-length"),
    ("max_time_ms", "--max-time-ms"),
    ("grammar.max_compile_ms", "--max-compile-ms"),
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
