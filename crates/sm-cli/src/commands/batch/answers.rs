//! Where answers go.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::lines::Lines;
use super::request::id_of;
use super::{Args, is_stream};
use crate::console::Console;
use crate::failure::Failure;
use crate::shown::shown;

/// Where the first answer goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Stdout,
    NewFile,
    /// A file that is overwritten.
    OldFile,
    /// A file that starts with answers to keep.
    After {
        n_bytes: u64,
        n_answers: u64,
    },
}

impl Destination {
    /// Finds the destination and skips lines that are already answered. Changes no file.
    ///
    /// # Errors
    /// If the output exists or holds other answers.
    pub(super) fn find(args: &Args, lines: &mut Lines) -> Result<Self, Failure> {
        let output = &args.output;
        if is_stream(output) {
            let message = "stdout cannot be resumed; name a file";
            return if args.resume { Err(Failure::Usage(message.to_owned())) } else { Ok(Self::Stdout) };
        }
        if args.is_same_file() {
            return Err(Failure::Usage(format!("{} is both input and output", shown(output))));
        }
        match (output.exists(), args.resume, args.force) {
            (false, ..) => Ok(Self::NewFile),
            (true, true, _) => after_answers(output, lines),
            (true, false, true) => Ok(Self::OldFile),
            (true, false, false) => Err(Failure::AnswersExist { path: output.clone() }),
        }
    }

    /// Number of answers kept.
    pub(super) fn n_kept(&self) -> u64 {
        match self {
            Self::After { n_answers, .. } => *n_answers,
            Self::Stdout | Self::NewFile | Self::OldFile => 0,
        }
    }
}

/// The end of the last complete answer. A killed run may have left a partial one after it.
fn after_answers(output: &Path, lines: &mut Lines) -> Result<Destination, Failure> {
    #[derive(Deserialize)]
    struct Ids {
        id: Value,
        custom_id: Option<Value>,
    }
    let file = File::open(output).map_err(Failure::file("read", output))?;
    let mut answers = BufReader::new(file);
    let mut n_bytes = 0;
    let mut n_answers = 0;
    let mut answer = Vec::new();
    loop {
        answer.clear();
        let n_read = answers.read_until(b'\n', &mut answer).map_err(Failure::file("read", output))?;
        if !answer.ends_with(b"\n") {
            return Ok(Destination::After { n_bytes, n_answers });
        }
        n_bytes += n_read as u64;
        n_answers += 1;
        let id = serde_json::from_slice(&answer).ok().map(|Ids { id, custom_id }| custom_id.unwrap_or(id));
        let line = lines.next()?;
        if id.is_none() || id != line.as_ref().map(id_of) {
            return Err(Failure::OtherAnswers { path: output.to_path_buf(), number: n_answers });
        }
    }
}

/// Where answers are written, one line at a time.
#[derive(Debug)]
pub(super) enum Answers<'a> {
    Stdout(&'a Console),
    File { file: File, path: PathBuf },
}

impl<'a> Answers<'a> {
    /// Opens the destination.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn open(
        destination: &Destination,
        path: &Path,
        console: &'a Console,
    ) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let file = match destination {
            Destination::Stdout => return Ok(Self::Stdout(console)),
            Destination::NewFile => options.write(true).create_new(true).open(path),
            Destination::OldFile => options.write(true).create(true).truncate(true).open(path),
            Destination::After { n_bytes, .. } => {
                options.append(true).open(path).and_then(|file| file.set_len(*n_bytes).map(|()| file))
            }
        };
        let file = file.map_err(Failure::file("write", path))?;
        Ok(Self::File { file, path: path.to_path_buf() })
    }

    /// Writes an answer.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(&mut self, answer: &Answer) -> Result<(), Failure> {
        match self {
            Self::Stdout(console) => console.line(format_args!("{}", answer.json)),
            Self::File { file, path } => {
                let line = format!("{}\n", answer.json);
                file.write_all(line.as_bytes()).map_err(Failure::file("write", path))
            }
        }
    }
}
