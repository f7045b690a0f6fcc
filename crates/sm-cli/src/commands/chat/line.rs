//! Parses a chat line as a message or a command.

use std::path::PathBuf;

/// A parsed line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Blank,
    Message(String),
    Help,
    Reset,
    Undo,
    Regenerate,
    System(String),
    Save(PathBuf),
    Load(PathBuf),
    /// Shows the options.
    Settings,
    /// The name of an option, and its value.
    Set(String, String),
    Exit,
    /// An unknown command or a missing argument, with an error message.
    Invalid(String),
}

/// The text of `/help`.
pub(super) const HELP: &str = "\
/help, /?         show this help
/reset            forget the conversation, keep the system message
/undo             forget the last question and its answer
/regen            answer the last question again
/system TEXT      set the system message and start again; without TEXT, remove it
/set NAME VALUE   change an option, as in /set temp 0.2 or /set think false; without NAME, show the options
/save FILE        write the conversation as JSON
/load FILE        go on with a conversation that was saved
/bye, /exit       leave (also Ctrl-D, or Ctrl-C on an empty line)
A line that ends with \\ goes on in the next; \"\"\" begins and ends a message of several lines.
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
            ("help" | "?", "") => Self::Help,
            ("reset" | "clear", "") => Self::Reset,
            ("undo", "") => Self::Undo,
            ("regen", "") => Self::Regenerate,
            ("exit" | "quit" | "bye", "") => Self::Exit,
            ("system", text) => Self::System(text.to_owned()),
            ("set", "") => Self::Settings,
            ("set", setting) => Self::parse_setting(setting),
            ("save", "") => Self::Invalid("/save needs a file name, as in /save chat.json".to_owned()),
            ("save", file) => Self::Save(file.into()),
            ("load", "") => Self::Invalid("/load needs a file name, as in /load chat.json".to_owned()),
            ("load", file) => Self::Load(file.into()),
            _ => Self::Invalid(format!("unknown command /{command}; type /help for the commands")),
        }
    }

    /// Parses what follows `/set`, in Ollama's spelling too.
    fn parse_setting(setting: &str) -> Self {
        let setting = setting.strip_prefix("parameter ").unwrap_or(setting).trim();
        let (name, value) = setting.split_once(char::is_whitespace).unwrap_or((setting, ""));
        match (name, value.trim()) {
            ("think", "") => Self::Set("think".to_owned(), "true".to_owned()),
            ("nothink", "") => Self::Set("think".to_owned(), "false".to_owned()),
            ("system", text) => Self::System(text.to_owned()),
            (name, "") => Self::Invalid(format!("/set {name} needs a value, as in /set temp 0.2")),
            (name, value) => Self::Set(name.trim_start_matches('-').replace('-', "_"), value.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let set = |name: &str, value: &str| Line::Set(name.to_owned(), value.to_owned());
        let cases = [
            ("  \n", Line::Blank),
            ("hello /exit\n", Line::Message("hello /exit".to_owned())),
            ("//etc is a path", Line::Message("/etc is a path".to_owned())),
            ("/help", Line::Help),
            ("/?", Line::Help),
            ("/reset", Line::Reset),
            ("/undo", Line::Undo),
            ("/regen ", Line::Regenerate),
            ("/system be kind ", Line::System("be kind".to_owned())),
            ("/system", Line::System(String::new())),
            ("/save a b.json", Line::Save("a b.json".into())),
            ("/load a b.json", Line::Load("a b.json".into())),
            ("/set", Line::Settings),
            ("/set top-k 5", set("top_k", "5")),
            ("/set parameter temperature 0.2", set("temperature", "0.2")),
            ("/set nothink", set("think", "false")),
            ("/set system be kind", Line::System("be kind".to_owned())),
            ("/bye", Line::Exit),
            ("/exit\r\n", Line::Exit),
        ];
        for (text, expected) in cases {
            assert_eq!(Line::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn invalid_commands_name_the_remedy() {
        for (text, remedy) in [
            ("/save", "/save chat.json"),
            ("/load", "/load chat.json"),
            ("/set temp", "/set temp 0.2"),
            ("/exit now", "/help"),
            ("/rest", "/help"),
        ] {
            let Line::Invalid(message) = Line::parse(text) else { panic!("{text} was accepted") };
            assert!(message.contains(remedy), "{message}");
        }
    }
}
