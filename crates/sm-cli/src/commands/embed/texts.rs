//! The texts: arguments, or the parts of a file or of stdin.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::prompt::{read_file, read_stdin};

/// Where the texts are.
#[derive(Debug, clap::Args)]
pub(super) struct TextArgs {
    /// Texts; the lines of stdin if omitted
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// Read the texts from FILE, one per line; `-` is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,
    /// Divide the file at STR instead of at the ends of lines
    #[arg(
        long,
        alias = "embd-separator",
        value_name = "STR",
        conflicts_with = "texts",
        allow_hyphen_values = true
    )]
    separator: Option<String>,
}

impl TextArgs {
    /// Reads the texts.
    ///
    /// # Errors
    /// If they cannot be read, there are none, or one is empty.
    pub(super) fn read(&self) -> Result<Vec<String>, Failure> {
        let texts = match &self.file {
            None if !self.texts.is_empty() => self.texts.clone(),
            Some(path) if path != Path::new("-") => self.parts(&read_file(path)?)?,
            None if io::stdin().is_terminal() => {
                let message = "no texts; pass them as arguments, with -f FILE, or on stdin";
                return Err(Failure::Usage(message.to_owned()));
            }
            _ => self.parts(&read_stdin()?)?,
        };
        if texts.is_empty() {
            return Err(Failure::Usage("there is no text to embed: the input is empty".to_owned()));
        }
        // Leaving it out would give the texts behind it other places than they have in the input.
        match texts.iter().position(String::is_empty) {
            Some(index) => {
                Err(Failure::Usage(format!("text {} is empty, and has no vector; remove it", index + 1)))
            }
            None => Ok(texts),
        }
    }

    /// The parts of a text. What is behind the last separator counts unless nothing is.
    fn parts(&self, text: &str) -> Result<Vec<String>, Failure> {
        let mut parts: Vec<String> = match self.separator.as_deref() {
            None => text.lines().map(str::to_owned).collect(),
            Some("") => {
                return Err(Failure::Usage("--separator must not be empty".to_owned()));
            }
            Some(separator) => text.split(separator).map(|part| part.trim_matches('\n').to_owned()).collect(),
        };
        if parts.last().is_some_and(String::is_empty) && self.separator.is_some() {
            parts.pop();
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_divided_at_lines_or_at_a_separator() {
        let parts = |separator: Option<&str>, text: &str| {
            let separator = separator.map(str::to_owned);
            TextArgs { texts: Vec::new(), file: None, separator }.parts(text).unwrap()
        };
        assert_eq!(parts(None, "a b\r\nc\n"), ["a b", "c"]);
        assert_eq!(parts(None, "a\n\nb"), ["a", "", "b"]);
        assert_eq!(parts(Some("|"), "a\nb|\nc\n|\n"), ["a\nb", "c"]);
        assert_eq!(parts(None, ""), Vec::<String>::new());
    }
}
