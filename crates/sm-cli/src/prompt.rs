//! Text input: an argument, a file, or standard input.

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The prompt of a command.
#[derive(Debug, clap::Args)]
pub(crate) struct PromptArgs {
    /// Prompt text; stdin if omitted or `-`
    prompt: Option<String>,
    /// Read the prompt from FILE, without a final newline
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    file: Option<PathBuf>,
}

impl PromptArgs {
    /// Reads the prompt. Drops one final newline of a file or standard input, because editors and `echo` add it.
    ///
    /// # Errors
    /// If no prompt is given and standard input is a terminal, or the text cannot be read.
    pub(crate) fn read(&self) -> Result<String, Failure> {
        match (&self.prompt, &self.file) {
            (Some(text), _) if text != "-" => Ok(text.clone()),
            (_, Some(path)) => Ok(without_final_newline(read_file(path)?)),
            (None, None) if io::stdin().is_terminal() => Err(Failure::Usage(
                "no prompt; pass it as an argument, with -f FILE, or on stdin ('' is an empty prompt)"
                    .to_owned(),
            )),
            (_, None) => Ok(without_final_newline(read_stdin()?)),
        }
    }
}

/// Reads all of standard input.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(crate) fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|source| Failure::Stream { action: "read stdin", source })?;
    utf8(bytes, || "stdin".to_owned())
}

/// Reads a whole file.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(crate) fn read_file(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(Failure::file("read", path))?;
    utf8(bytes, || path.display().to_string())
}

/// Converts bytes to text.
///
/// # Errors
/// If they are not UTF-8.
pub(crate) fn utf8(bytes: Vec<u8>, origin: impl FnOnce() -> String) -> Result<String, Failure> {
    String::from_utf8(bytes)
        .map_err(|error| Failure::NotUtf8 { origin: origin(), offset: error.utf8_error().valid_up_to() })
}

fn without_final_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_final_newline_is_dropped() {
        for (text, expected) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            assert_eq!(without_final_newline(text.to_owned()), expected);
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_the_offset() {
        let error = utf8(vec![b'a', 0xff], || "x".to_owned()).unwrap_err().to_string();
        assert!(error.contains("x is not UTF-8 at byte 1"), "{error}");
    }
}
