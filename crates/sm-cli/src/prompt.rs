//! Text input: an argument, a file, or standard input.

mod stdin;

use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use crate::console::Console;
use crate::escapes::unescape;
use crate::failure::Failure;
use crate::shown::shown;

/// What some editors put at the beginning of a file in UTF-8.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The prompt of a command.
#[derive(Debug, clap::Args)]
pub(crate) struct PromptArgs {
    /// Prompt text; stdin if omitted or `-`. What is piped in follows it
    prompt: Option<String>,
    #[arg(
        short = 'p',
        long = "prompt",
        value_name = "PROMPT",
        hide = true,
        conflicts_with = "prompt",
        allow_hyphen_values = true
    )]
    prompt_option: Option<String>,
    /// Read the prompt from FILE, without a final newline
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_option"])]
    file: Option<PathBuf>,
    /// Replace \n, \t, \\, \" and \xHH in the prompt
    #[arg(short, long)]
    escape: bool,
}

impl PromptArgs {
    /// Reads the prompt. Drops one final newline of a file or standard input, because editors and `echo` add it. Piped input follows
    /// a prompt given as an argument, on a line of its own.
    ///
    /// # Errors
    /// If no prompt is given and standard input is a terminal, or the text cannot be read.
    pub(crate) fn read(&self, console: &Console) -> Result<String, Failure> {
        match (self.prompt.as_ref().or(self.prompt_option.as_ref()), &self.file) {
            (Some(text), _) if text != "-" => {
                let text = if self.escape { unescape(text) } else { text.clone() };
                let piped =
                    stdin::piped(console)?.map(without_final_newline).filter(|piped| !piped.is_empty());
                Ok(piped.map_or_else(|| text.clone(), |piped| format!("{text}\n{piped}")))
            }
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
    text(bytes, || "stdin".to_owned())
}

/// Reads a whole file.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub(crate) fn read_file(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(Failure::file("read", path))?;
    text(bytes, || shown(path))
}

/// The bytes of a whole file as text, without a byte order mark.
fn text(bytes: Vec<u8>, origin: impl FnOnce() -> String) -> Result<String, Failure> {
    let mut text = utf8(bytes, origin)?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
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
    fn a_byte_order_mark_is_dropped() {
        let read = |bytes: &[u8]| text(bytes.to_vec(), String::new).unwrap();
        assert_eq!(read(b"\xef\xbb\xbfOnce"), "Once");
        assert_eq!(read(b"Once\xef\xbb\xbf"), "Once\u{feff}");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_the_offset() {
        let error = utf8(vec![b'a', 0xff], || "x".to_owned()).unwrap_err().to_string();
        assert!(error.contains("x is not UTF-8 at byte 1"), "{error}");
    }
}
