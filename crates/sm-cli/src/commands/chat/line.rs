//! What a line of a chat means: something to say, or a command.

use std::path::PathBuf;

/// A line that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Nothing,
    Say(String),
    Help,
    Reset,
    System(String),
    Save(PathBuf),
    Exit,
    /// A command that there is not, or one without what it needs; with what to tell.
    Wrong(String),
}

/// The text of `/help`.
pub(super) const HELP: &str = "\
/help         show this
/reset        forget the conversation, keep the system message
/system TEXT  set the system message and start anew; without TEXT, remove it
/save FILE    write the conversation as JSON
/exit         leave, as do Ctrl-D and Ctrl-C on an empty line
Ctrl-C stops an answer. A line that starts with // is said with one / less.";

impl Line {
    /// Reads a line; white space around it does not count.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::Nothing;
        }
        let Some(command) = text.strip_prefix('/') else { return Self::Say(text.to_owned()) };
        if command.starts_with('/') {
            return Self::Say(command.to_owned());
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("help", "") => Self::Help,
            ("reset", "") => Self::Reset,
            ("exit" | "quit", "") => Self::Exit,
            ("system", text) => Self::System(text.to_owned()),
            ("save", "") => Self::Wrong("/save needs a file, as in /save chat.json".to_owned()),
            ("save", file) => Self::Save(file.into()),
            _ => Self::Wrong(format!("there is no command /{command}; /help shows all")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let cases = [
            ("  \n", Line::Nothing),
            ("hello /exit\n", Line::Say("hello /exit".to_owned())),
            ("//etc is a path", Line::Say("/etc is a path".to_owned())),
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
    fn wrong_commands_name_the_remedy() {
        for (text, remedy) in [("/save", "/save chat.json"), ("/exit now", "/help"), ("/rest", "/help")] {
            let Line::Wrong(message) = Line::parse(text) else { panic!("{text} was understood") };
            assert!(message.contains(remedy), "{message}");
        }
    }
}
