//! Command output: results on stdout, everything else on stderr. Also what the user forbade: notes, connections.

use std::fmt::{self, Arguments};
use std::io::{self, IsTerminal, Stderr, Stdout, Write};

use serde::Serialize;

use crate::failure::Failure;
use crate::shown::escaped;

/// Where a command writes.
#[derive(Debug)]
pub(crate) struct Console {
    stdout: Stdout,
    stderr: Stderr,
    quiet: bool,
    offline: bool,
}

impl Console {
    /// A console; `quiet` suppresses progress and notes.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { stdout: io::stdout(), stderr: io::stderr(), quiet, offline: false }
    }

    /// Forbids connections to hubs.
    pub(crate) fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Whether connections to hubs are forbidden.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Whether progress bars may be drawn: on a terminal, unless `--quiet`.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && self.stderr.is_terminal()
    }

    /// Whether stdout is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout.is_terminal()
    }

    /// Writes a piece of the result and flushes, so that streamed text appears immediately.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(crate) fn piece(&self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes of the result and flushes.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Stream { action: "write to stdout", source },
        })
    }

    /// Writes one line of the result.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(crate) fn line(&self, text: Arguments<'_>) -> Result<(), Failure> {
        self.piece(&format!("{text}\n"))
    }

    /// Writes a result as one line of JSON.
    ///
    /// # Errors
    /// If stdout is closed or fails.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(format_args!("{}", to_json(value)?))
    }

    /// Shows a note, unless `--quiet`.
    pub(crate) fn note(&self, text: Arguments<'_>) {
        if !self.quiet {
            self.message(text);
        }
    }

    /// Shows a failure.
    pub(crate) fn failure(&self, failure: &Failure) {
        if !failure.is_silent() {
            self.message(format_args!("error: {}", failure.chain()));
        }
    }

    /// Shows a message, even with `--quiet`. Control characters are escaped: those in a file name could command the terminal.
    pub(crate) fn message(&self, text: Arguments<'_>) {
        let text = escaped(&text.to_string(), |c| c.is_control() && c != '\n' && c != '\t');
        // A closed stderr cannot be reported anywhere.
        let _ = writeln!(self.stderr.lock(), "{text}");
    }

    /// Shows a piece of what the model thinks, unless `--quiet`: it is not the result.
    pub(crate) fn thought(&self, text: &str) {
        if !self.quiet {
            let mut stderr = self.stderr.lock();
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        }
    }
}

/// A value as one line of JSON.
///
/// # Errors
/// If the value cannot be serialized.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::Stream { action: "write JSON", source: error.into() })
}

/// A number of bytes, shown with a binary prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.2} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_binary_prefixes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.50 KiB"),
            (1 << 30, "1.00 GiB"),
            (1 << 53, "8192.00 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
