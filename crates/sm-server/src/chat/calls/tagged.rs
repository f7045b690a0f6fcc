//! Calls whose arguments are tags: `<function=name><parameter=x>1</parameter></function>`.

use serde_json::Value;

use super::{Found, Progress};
use crate::chat::tools::Tools;

/// Longer names are none.
const MAX_NAME_BYTES: usize = 400;

/// Reads a call, and makes JSON of its tags.
#[derive(Clone, Debug)]
pub(super) struct TaggedCall {
    tags: &'static Tags,
    tools: Tools,
    state: State,
    /// What was read since the last tag.
    text: String,
    name: String,
    n_arguments: usize,
}

/// How a family writes its tags.
#[derive(Debug)]
struct Tags {
    /// What comes before the name of the tool, and after it.
    name: (&'static str, &'static str),
    /// What comes before the name of an argument, and after it.
    key: (&'static str, &'static str),
    /// What comes before the argument's value, and after it.
    value: (&'static str, &'static str),
    end: &'static str,
    /// Whether a line break on each side of a value belongs to the tags.
    has_lines: bool,
}

const QWEN_CODER: Tags = Tags {
    name: ("<function=", ">"),
    key: ("<parameter=", ">"),
    value: ("", "</parameter>"),
    end: "</function>",
    has_lines: true,
};

const GLM: Tags = Tags {
    name: ("", ""),
    key: ("<arg_key>", "</arg_key>"),
    value: ("<arg_value>", "</arg_value>"),
    end: "</tool_call>",
    has_lines: false,
};

#[derive(Clone, Debug)]
enum State {
    BeforeName,
    Name,
    /// Before an argument, or the end.
    BeforeKey,
    Key,
    BeforeValue(String),
    Value(String),
}

impl TaggedCall {
    pub(super) fn qwen_coder(tools: Tools) -> Self {
        Self::new(&QWEN_CODER, State::BeforeName, tools)
    }

    /// After `<function=`.
    pub(super) fn in_function(tools: Tools) -> Self {
        Self::new(&QWEN_CODER, State::Name, tools)
    }

    pub(super) fn glm(tools: Tools) -> Self {
        Self::new(&GLM, State::Name, tools)
    }

    fn new(tags: &'static Tags, state: State, tools: Tools) -> Self {
        Self { tags, tools, state, text: String::new(), name: String::new(), n_arguments: 0 }
    }

    pub(super) fn push(&mut self, next: char, found: &mut Vec<Found>) -> Progress {
        self.text.push(next);
        let tags = self.tags;
        match &mut self.state {
            State::BeforeName => self.skip_to(tags.name.0, State::Name),
            State::Name => self.read_name(found),
            State::BeforeKey => match self.text.trim_start() {
                "" => Progress::More,
                text if text == tags.end => {
                    found.push(Found::Arguments(if self.n_arguments == 0 { "{}" } else { "}" }.to_owned()));
                    Progress::Done
                }
                text if tags.end.starts_with(text) && text != tags.key.0 => Progress::More,
                _ => self.skip_to(tags.key.0, State::Key),
            },
            State::Key => match self.text.strip_suffix(tags.key.1) {
                Some(key) => {
                    let key = key.trim().to_owned();
                    let is_bare = tags.value.0.is_empty();
                    self.go(if is_bare { State::Value(key) } else { State::BeforeValue(key) })
                }
                None => self.more_of_name(),
            },
            State::BeforeValue(key) => {
                let key = std::mem::take(key);
                let state = State::Value(key.clone());
                let progress = self.skip_to(tags.value.0, state);
                if progress == Progress::More && matches!(self.state, State::BeforeValue(_)) {
                    self.state = State::BeforeValue(key);
                }
                progress
            }
            State::Value(key) => {
                let Some(value) = self.text.strip_suffix(tags.value.1) else { return Progress::More };
                let key = std::mem::take(key);
                let value = self.argument(&key, value);
                found.push(Found::Arguments(value));
                self.n_arguments += 1;
                self.go(State::BeforeKey)
            }
        }
    }

    fn go(&mut self, state: State) -> Progress {
        self.text.clear();
        self.state = state;
        Progress::More
    }

    /// Waits for a tag, before which only white space may come.
    fn skip_to(&mut self, tag: &str, then: State) -> Progress {
        let text = self.text.trim_start();
        if text == tag {
            return self.go(then);
        }
        if tag.starts_with(text) { Progress::More } else { Progress::Failed }
    }

    fn more_of_name(&self) -> Progress {
        if self.text.len() > MAX_NAME_BYTES { Progress::Failed } else { Progress::More }
    }

    /// The name ends with its tag, or where that has none, at the first argument or the end.
    fn read_name(&mut self, found: &mut Vec<Found>) -> Progress {
        let tags = self.tags;
        let ends = match tags.name.1 {
            "" => [tags.key.0, tags.end],
            end => [end, end],
        };
        let Some(end) = ends.into_iter().find(|end| self.text.ends_with(end)) else {
            return self.more_of_name();
        };
        let name = self.text[..self.text.len() - end.len()].trim().to_owned();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Progress::Failed;
        }
        found.push(Found::Call { name: name.clone(), id: None });
        self.name = name;
        if end == tags.end {
            found.push(Found::Arguments("{}".to_owned()));
            return Progress::Done;
        }
        self.go(if end == tags.key.0 { State::Key } else { State::BeforeKey })
    }

    /// An argument as a piece of JSON.
    fn argument(&self, key: &str, text: &str) -> String {
        let text = match self.tags.has_lines {
            true => {
                let text = text.strip_prefix('\n').unwrap_or(text);
                text.strip_suffix('\n').unwrap_or(text)
            }
            false => text,
        };
        let value: Value = self.tools.value(&self.name, key, text);
        let separator = if self.n_arguments == 0 { "{" } else { ", " };
        format!("{separator}{}: {value}", Value::from(key))
    }
}
