//! Standard input beside a prompt.
//!
//! Programs start others with all kinds of standard input: a terminal, nothing, a pipe that nobody ever closes, or the file that a
//! loop of the shell reads. Only a pipe, and a file from its beginning on, are meant for the command.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::read_stdin;
use crate::console::Console;
use crate::failure::Failure;

/// How long standard input may stay open before a note says what is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is piped in, if something is.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(super) fn piped(console: &Console) -> Result<Option<String>, Failure> {
    if !is_for_us() {
        return Ok(None);
    }
    let (send, received) = mpsc::channel();
    let reading = thread::Builder::new().spawn(move || _ = send.send(read_stdin()));
    if reading.is_err() {
        // No thread is to be had: wait without a note.
        return read_stdin().map(Some);
    }
    match received.recv_timeout(PATIENCE) {
        Ok(read) => read.map(Some),
        Err(RecvTimeoutError::Timeout) => {
            console.note(format_args!(
                "waiting for the end of stdin, which follows the prompt; start with < /dev/null to leave it out"
            ));
            received.recv().unwrap_or(Ok(String::new())).map(Some)
        }
        Err(RecvTimeoutError::Disconnected) => Ok(None),
    }
}

#[cfg(unix)]
fn is_for_us() -> bool {
    use std::fs::File;
    use std::io::Seek;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    let stdin = io::stdin();
    let Ok(fd) = stdin.as_fd().try_clone_to_owned() else { return false };
    let mut file = File::from(fd);
    let Ok(kind) = file.metadata().map(|metadata| metadata.file_type()) else { return false };
    let is_at_start = |file: &mut File| file.stream_position().is_ok_and(|position| position == 0);
    !stdin.is_terminal() && (kind.is_fifo() || kind.is_socket() || kind.is_file() && is_at_start(&mut file))
}

#[cfg(not(unix))]
fn is_for_us() -> bool {
    !io::stdin().is_terminal()
}
