//! What can go wrong between a name and a model on disk.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be found, fetched or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A name is no reference to a model of the hub.
    #[error(
        "{text:?} is no model of the hub: {reason}; write ORGANIZATION/NAME, then :QUANT or :FILE and @REVISION where wanted"
    )]
    Reference {
        /// The name.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting has an invalid value.
    #[error("{name} is {value:?}, but {reason}")]
    Setting {
        /// The environment variable.
        name: &'static str,
        /// Its value, without passwords.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Connections are forbidden.
    #[error(
        "{repo} is to be fetched from {endpoint}, but offline mode forbids connections; leave out --offline and HF_HUB_OFFLINE"
    )]
    Offline {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
    },
    /// The model is not in the cache.
    #[error("{model} is not among the models in {}{}", .cache.display(), .missing.as_ref().map(|file| format!(": {file} is missing")).unwrap_or_default())]
    NotCached {
        /// The model.
        model: String,
        /// The folder of the cache.
        cache: PathBuf,
        /// The first file that is missing, if the others are there.
        missing: Option<String>,
    },
    /// The licence of the repository must be accepted first.
    #[error(
        "{repo} is gated: accept its conditions at {url} and {}",
        if *.has_token { "use a token of that account; the token given has no access" } else { "set HF_TOKEN to a token of that account (https://huggingface.co/settings/tokens)" }
    )]
    Gated {
        /// The repository.
        repo: String,
        /// Its page.
        url: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub does not accept the token.
    #[error(
        "{endpoint} refuses the token from {origin}; make a new one at https://huggingface.co/settings/tokens, or leave it out for public models"
    )]
    Token {
        /// The hub.
        endpoint: String,
        /// Where the token came from.
        origin: String,
    },
    /// There is no such repository, or only some may see it.
    #[error(
        "{endpoint} has no model {repo}, or it is private; check the name, or {} it",
        if *.has_token { "use a token that may read" } else { "set HF_TOKEN to a token that may read" }
    )]
    NoRepository {
        /// The hub.
        endpoint: String,
        /// The repository.
        repo: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repo} has no revision {revision:?}; its branches and tags are listed at {url}")]
    NoRevision {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
        /// A page that lists them.
        url: String,
    },
    /// The repository holds nothing that can be run.
    #[error("{repo} has no model that can be run: {reason}")]
    NoModel {
        /// The repository.
        repo: String,
        /// What it lacks.
        reason: String,
    },
    /// The repository has no file for what was asked.
    #[error("{repo} has no {wanted}; it has {}", list(.available))]
    NoSuchFile {
        /// The repository.
        repo: String,
        /// What was asked.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The hub wants fewer requests.
    #[error(
        "{endpoint} refuses more requests{}{}",
        .after_s.map(|s| format!(" for {s} seconds")).unwrap_or_else(|| " for now".to_owned()),
        if *.has_token { "; try again then" } else { "; try again then, or set HF_TOKEN: who is known may ask more often" }
    )]
    RateLimited {
        /// The hub.
        endpoint: String,
        /// When it will answer again, if it said so.
        after_s: Option<u64>,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub answered with another error.
    #[error("{url} answered {status}{}; try again later", .message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Status {
        /// What was asked for, without query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the hub says about it.
        message: Option<String>,
    },
    /// The hub answered with something that is not what it should be.
    #[error("{url} answered {reason}; is that a Hugging Face hub?")]
    Answer {
        /// What was asked for, without query.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The connection failed, more often than is worth trying.
    #[error("cannot fetch {url} in {attempts} attempts; run the same command to go on where it ended")]
    Connection {
        /// What was asked for, without query.
        url: String,
        /// How often it was tried without getting any further.
        attempts: u32,
        /// The last failure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no secure connection to be had.
    #[error("no secure connection to {url}: {reason}")]
    Tls {
        /// What was asked for, without query.
        url: String,
        /// What is missing or wrong, and the remedy.
        reason: String,
    },
    /// A file is not what the hub says it is.
    #[error(
        "{file} has the checksum {found}, but the hub names {expected}; what was fetched is deleted: try again, and if it happens again, ask who runs the hub or the proxy"
    )]
    Checksum {
        /// The file.
        file: String,
        /// The checksum that the hub names.
        expected: String,
        /// That of what was received.
        found: String,
    },
    /// The disk is too small.
    #[error("{needed_bytes} bytes are to be fetched, but {} has {free_bytes} bytes free; remove models with sm rm, or set HF_HUB_CACHE to a folder on another disk", .path.display())]
    Space {
        /// The cache.
        path: PathBuf,
        /// The bytes still to be fetched.
        needed_bytes: u64,
        /// The bytes that are free.
        free_bytes: u64,
    },
    /// A file or folder of the cache cannot be used.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// `read`, `write`, ….
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The caller cancelled.
    #[error("cancelled; run the same command to go on where it ended")]
    Cancelled,
}

impl HubError {
    /// Creates a [`HubError::Io`], for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// At most this many names are listed.
const MAX_LISTED: usize = 40;

fn list(names: &[String]) -> String {
    match names.len() {
        0 => "no GGUF files".to_owned(),
        n if n > MAX_LISTED => format!("{} and {} more", names[..MAX_LISTED].join(", "), n - MAX_LISTED),
        _ => names.join(", "),
    }
}
