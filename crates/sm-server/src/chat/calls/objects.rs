//! Calls that are JSON objects, or lists of them: `{"name": "f", "arguments": {…}}`.

use super::value::{End, Value};
use super::{Found, Progress};
use crate::chat::tools::Tools;

/// Reads one object, or a list.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectCalls {
    state: State,
    is_list: bool,
    /// `{"type": "function", "function": {…}}`: objects around the one that counts.
    n_around: usize,
    call: Call,
    /// Where any object may come, only these are called.
    known: Option<Tools>,
}

/// What is known of a call.
#[derive(Clone, Debug, Default)]
struct Call {
    name: Option<String>,
    id: Option<String>,
    /// Arguments that came before the name.
    arguments: Option<String>,
    has_begun: bool,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Start,
    /// Before an object of a list, or the list's end.
    InList,
    BeforeKey,
    Key(String, Value),
    BeforeColon(String),
    BeforeValue(String),
    Value {
        key: String,
        value: Value,
        text: String,
    },
    /// Arguments of a call that has begun, which are passed on as they come.
    Arguments(Value),
    AfterValue,
    AfterCall,
}

impl ObjectCalls {
    /// Reads calls of these tools; other objects are no calls.
    pub(super) fn of_known(tools: Tools) -> Self {
        Self { known: Some(tools), ..Self::default() }
    }

    pub(super) fn push(&mut self, next: char, found: &mut Vec<Found>) -> Progress {
        match &mut self.state {
            State::Key(..) => self.push_key(next),
            State::Value { .. } => self.push_value(next, found),
            State::Arguments(value) => {
                let end = value.push(next);
                found.push(Found::Arguments(next.into()));
                if end == End::Open { Progress::More } else { self.go(State::AfterValue) }
            }
            _ if next.is_whitespace() => Progress::More,
            State::Start if next == '[' => {
                self.is_list = true;
                self.go(State::InList)
            }
            State::Start | State::InList if next == '{' => self.go(State::BeforeKey),
            State::BeforeKey if next == '"' => {
                let mut value = Value::default();
                value.push(next);
                self.go(State::Key(next.into(), value))
            }
            State::BeforeColon(key) if next == ':' => {
                let key = std::mem::take(key);
                self.go(State::BeforeValue(key))
            }
            State::BeforeValue(key) => {
                let key = std::mem::take(key);
                self.begin_value(key, next, found)
            }
            State::AfterValue if next == ',' => self.go(State::BeforeKey),
            State::BeforeKey | State::AfterValue if next == '}' => self.end_object(found),
            State::AfterCall if next == ',' => self.go(State::InList),
            State::InList | State::AfterCall if next == ']' => Progress::Done,
            _ => Progress::Failed,
        }
    }

    /// The call of an object that was cut after its name.
    pub(super) fn cut(&mut self) -> Option<Found> {
        let mut found = Vec::new();
        let is_named = self.call.name.is_some() && !self.call.has_begun;
        (is_named && self.begin_call(&mut found)).then(|| found.swap_remove(0))
    }

    fn go(&mut self, state: State) -> Progress {
        self.state = state;
        Progress::More
    }

    fn push_key(&mut self, next: char) -> Progress {
        let State::Key(key, value) = &mut self.state else { return Progress::Failed };
        key.push(next);
        if value.push(next) == End::Open {
            return Progress::More;
        }
        match serde_json::from_str::<String>(key) {
            // An object that is no call is told early, so that it is not held back.
            Ok(key) if self.known.is_none() || self.n_around > 0 || is_of_call(&key) => {
                self.go(State::BeforeColon(key))
            }
            _ => Progress::Failed,
        }
    }

    fn begin_value(&mut self, key: String, next: char, found: &mut Vec<Found>) -> Progress {
        if key == "function" && next == '{' {
            self.n_around += 1;
            return self.go(State::BeforeKey);
        }
        let is_stream = is_arguments(&key) && matches!(next, '{' | '[') && self.call.name.is_some();
        self.state = match is_stream {
            true if !self.begin_call(found) => return Progress::Failed,
            true => State::Arguments(Value::default()),
            false => State::Value { key, value: Value::default(), text: String::new() },
        };
        self.push(next, found)
    }

    fn push_value(&mut self, next: char, found: &mut Vec<Found>) -> Progress {
        let State::Value { key, value, text } = &mut self.state else { return Progress::Failed };
        let end = value.push(next);
        if end != End::Before {
            text.push(next);
        }
        if end == End::Open {
            return Progress::More;
        }
        let (key, text) = (std::mem::take(key), std::mem::take(text));
        self.state = State::AfterValue;
        if !self.end_value(&key, text, found) {
            return Progress::Failed;
        }
        if end == End::Before { self.push(next, found) } else { Progress::More }
    }

    /// Keeps a value. Returns whether this can still be a call.
    fn end_value(&mut self, key: &str, text: String, found: &mut Vec<Found>) -> bool {
        let as_text = || serde_json::from_str::<String>(&text);
        match key {
            "name" | "function" => match as_text() {
                Ok(name) if !name.is_empty() => self.call.name = Some(name),
                _ => return key == "function",
            },
            "id" => self.call.id = as_text().ok(),
            _ if is_arguments(key) => {
                // Some models write the object as a text, as it is in the API.
                let text = as_text().unwrap_or(text);
                self.call.arguments = Some(if text == "null" { "{}".to_owned() } else { text });
            }
            _ => {}
        }
        self.call.name.is_none() || self.call.arguments.is_none() || self.begin_call(found)
    }

    /// Begins the call, whose name is known. Returns whether there is such a tool.
    fn begin_call(&mut self, found: &mut Vec<Found>) -> bool {
        let Call { name, id, arguments, has_begun } = &mut self.call;
        if *has_begun {
            return true;
        }
        let name = name.clone().unwrap_or_default();
        if self.known.as_ref().is_some_and(|known| !known.has(&name)) {
            return false;
        }
        *has_begun = true;
        found.push(Found::Call { name, id: id.take() });
        found.extend(arguments.take().map(Found::Arguments));
        true
    }

    fn end_object(&mut self, found: &mut Vec<Found>) -> Progress {
        if self.n_around > 0 {
            self.n_around -= 1;
            return self.go(State::AfterValue);
        }
        let call = &mut self.call;
        if call.name.is_none() {
            return Progress::Failed;
        }
        if !call.has_begun {
            call.arguments.get_or_insert_with(|| "{}".to_owned());
            if !self.begin_call(found) {
                return Progress::Failed;
            }
        }
        self.call = Call::default();
        if self.is_list { self.go(State::AfterCall) } else { Progress::Done }
    }
}

fn is_arguments(key: &str) -> bool {
    matches!(key, "arguments" | "parameters")
}

/// Whether an object with this key may be a call.
fn is_of_call(key: &str) -> bool {
    is_arguments(key) || matches!(key, "name" | "type" | "function" | "id")
}
