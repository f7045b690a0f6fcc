//! Input lines, read on a thread so that a slow input delays neither answers nor Ctrl-C.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;

use super::is_stream;
use crate::failure::Failure;

/// Longest line, in bytes.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// What some editors write at the start of a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Lines read ahead.
const N_AHEAD: usize = 4;

/// A non-blank line.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number, from 1. Blank lines count.
    pub(super) number: u64,
    /// Offset of its end, in bytes.
    pub(super) end: u64,
    /// Its text, or why it is unusable.
    pub(super) text: Result<String, String>,
}

/// The remaining lines.
#[derive(Debug)]
pub(super) struct Lines {
    received: Receiver<io::Result<Line>>,
    are_over: bool,
    total_bytes: Option<u64>,
}

impl Lines {
    /// Starts reading. The calling thread is unparked when a line has been read.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let mut total_bytes = None;
        let input: Box<dyn Read + Send> = if is_stream(path) {
            Box::new(io::stdin())
        } else {
            let file = File::open(path).map_err(Failure::file("read", path))?;
            let metadata = file.metadata().map_err(Failure::file("read", path))?;
            total_bytes = metadata.is_file().then_some(metadata.len());
            Box::new(file)
        };
        let (send, received) = mpsc::sync_channel(N_AHEAD);
        let reader = thread::current();
        let reading = thread::Builder::new().spawn(move || {
            if let Err(error) = read(BufReader::new(input), &send, &reader) {
                // Fails only if the receiver is gone.
                let _ = send.send(Err(error));
            }
            drop(send);
            reader.unpark();
        });
        reading
            .map_err(|source| Failure::Stream { action: "start a thread that reads the input", source })?;
        Ok(Self { received, are_over: false, total_bytes })
    }

    /// The length of the input in bytes, if known.
    pub(super) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Whether the last line has been returned.
    pub(super) fn are_over(&self) -> bool {
        self.are_over
    }

    /// The next line, `None` at the end. Blocks.
    ///
    /// # Errors
    /// If the input cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Failure> {
        let line = self.received.recv().ok().transpose();
        self.are_over |= matches!(line, Ok(None));
        line.map_err(unreadable)
    }

    /// The next line, `None` at the end or if it has not been read yet.
    ///
    /// # Errors
    /// If the input cannot be read.
    pub(super) fn next_if_there(&mut self) -> Result<Option<Line>, Failure> {
        match self.received.try_recv() {
            Ok(line) => line.map(Some).map_err(unreadable),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                self.are_over = true;
                Ok(None)
            }
        }
    }
}

fn unreadable(source: io::Error) -> Failure {
    Failure::Stream { action: "read the requests", source }
}

/// Sends line after line until the input ends or the receiver is gone.
fn read(
    mut input: impl BufRead,
    send: &SyncSender<io::Result<Line>>,
    reader: &thread::Thread,
) -> io::Result<()> {
    let mut number = 0;
    let mut end = 0;
    loop {
        let mut bytes = Vec::new();
        let n_read = (&mut input).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)? as u64;
        if n_read == 0 {
            return Ok(());
        }
        number += 1;
        end += n_read;
        let is_whole = bytes.ends_with(b"\n") || n_read < MAX_LINE_BYTES;
        let text = if is_whole {
            if number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            String::from_utf8(bytes)
                .map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
        } else {
            end += input.skip_until(b'\n')? as u64;
            Err(format!("longer than {} MiB", MAX_LINE_BYTES >> 20))
        };
        if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
            continue;
        }
        if send.send(Ok(Line { number, end, text })).is_err() {
            return Ok(());
        }
        reader.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_before_the_first_line_is_skipped() {
        let (send, received) = mpsc::sync_channel(9);
        let marked = b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n";
        read(marked.as_slice(), &send, &thread::current()).unwrap();
        drop(send);
        let texts: Vec<String> = received.iter().map(|line| line.unwrap().text.unwrap()).collect();
        assert_eq!(texts, ["{}\n", "\u{feff}{}\n"]);
    }

    #[test]
    fn lines_are_numbered_and_an_invalid_one_affects_no_other() {
        let long = "x".repeat(MAX_LINE_BYTES as usize + 5);
        let input = [b"{}\n\n \r\n\xff\n", long.as_bytes(), b"\nlast"].concat();
        let (send, received) = mpsc::sync_channel(9);
        read(input.as_slice(), &send, &thread::current()).unwrap();
        drop(send);
        let lines: Vec<Line> = received.iter().map(Result::unwrap).collect();
        let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 4, 5, 6]);
        assert_eq!(lines[0].text.as_deref(), Ok("{}\n"));
        assert!(lines[1].text.as_ref().unwrap_err().contains("UTF-8 at byte 0"));
        assert!(lines[2].text.as_ref().unwrap_err().contains("16 MiB"));
        assert_eq!((lines[3].text.as_deref(), lines[3].end), (Ok("last"), input.len() as u64));
    }
}
