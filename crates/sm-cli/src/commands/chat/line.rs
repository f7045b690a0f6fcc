//! Parses a chat line as a message or a command.

use std::path::PathBuf;

/// A parsed line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Blank,
    Message(String),
    Help,
    Reset,
    System(String),
    Save(PathBuf),
    Exit,
    /// An unknown command or a missing argument, with an error message.
    Invalid(String),
}

/// The text of `/help`.
pub(super) const HELP: &str = "\
/help         show this help
/reset        forget the conversation, keep the system message
/system TEXT  set the system message and start again; without TEXT, remove it
/save FILE    write the conversation as JSON
/exit         leave (also Ctrl-D, or Ctrl-C on an empty line)
Ctrl-C stops an answer. Start a line with // to send a message that starts with /.";

impl Line {
    /// Parses a line, ignoring surrounding white space.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::Blank;
        }
        let Some(command) = text.strip_prefix('/') else { return Self::Message(text.to_owned()) };
        if command.starts_with('/') {
            return Self::Message(command.to_owned());
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("help", "") => Self::Help,
            ("reset", "") => Self::Reset,
            ("exit" | "quit", "") => Self::Exit,
            ("system", text) => Self::System(text.to_owned()),
            ("save", "") => Self::Invalid("/save needs a file name, as in /save chat.json".to_owned()),
            ("save", file) => Self::Save(file.into()),
            _ => Self::Invalid(format!("unknown command /{command}; type /help for the commands")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let cases = [
            ("  \n", Line::Blank),
            ("hello /exit\n", Line::Message("hello /exit".to_owned())),
            ("//etc is a path", Line::Message("/etc is a path".to_owned())),
            ("/help", Line::Help),
            ("/reset", Line::Reset),
            ("/system be kind ", Line::System("be kind".to_owned())),
            ("/system", Line::System(String::new())),
            ("/save a b.json", Line::Save("a b.json".into())),
            ("/exit\r\n", Line::Exit),
        ];
        for (text, expected) in cases {
            assert_eq!(Line::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn invalid_commands_name_the_remedy() {
        for (text, remedy) in [("/save", "/save chat.json"), ("/exit now", "/help"), ("/rest", "/help")] {
            let Line::Invalid(message) = Line::parse(text) else { panic!("{text} was accepted") };
            assert!(message.contains(remedy), "{message}");
        }
    }
}
