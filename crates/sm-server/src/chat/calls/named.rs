//! Calls that are a name, and then the arguments: `name[ARGS]{…}`.

use super::value::{End, Value};
use super::{Found, Progress};

/// Longer names, with what is around them, are none.
const MAX_HEAD_BYTES: usize = 400;

/// Reads a name and its arguments.
#[derive(Clone, Debug)]
pub(super) struct NamedCall {
    form: Form,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// `name{…}`, `name[ARGS]{…}`, `name[CALL_ID]id[ARGS]{…}`
    Mistral,
    /// `name<｜tool▁sep｜>{…}`, or of the first versions ``function<｜tool▁sep｜>name\n```json\n{…}``
    DeepSeek,
    /// `functions.name:0<|tool_call_argument_begin|>{…}`
    KimiK2,
}

#[derive(Clone, Debug)]
enum State {
    /// What comes before the arguments' brace.
    Head(String),
    Arguments(Value),
}

impl NamedCall {
    pub(super) fn mistral() -> Self {
        Self::new(Form::Mistral)
    }

    pub(super) fn deep_seek() -> Self {
        Self::new(Form::DeepSeek)
    }

    pub(super) fn kimi_k2() -> Self {
        Self::new(Form::KimiK2)
    }

    fn new(form: Form) -> Self {
        Self { form, state: State::Head(String::new()) }
    }

    /// The call of a head that was cut after its name.
    pub(super) fn cut(&self) -> Option<Found> {
        let State::Head(head) = &self.state else { return None };
        let is_whole = match self.form {
            Form::Mistral => head.trim_end().ends_with("[ARGS]"),
            // The first versions wrote the name on a line behind the mark.
            Form::DeepSeek => !head.starts_with("function<") || head.contains("\n`"),
            Form::KimiK2 => true,
        };
        let (name, id) = self.form.read(head).filter(|_| is_whole)?;
        Some(Found::Call { name, id })
    }

    pub(super) fn push(&mut self, next: char, found: &mut Vec<Found>) -> Progress {
        match &mut self.state {
            State::Head(head) if next == '{' => {
                let Some((name, id)) = self.form.read(head) else { return Progress::Failed };
                found.push(Found::Call { name, id });
                self.state = State::Arguments(Value::default());
                self.push(next, found)
            }
            State::Head(head) if head.len() >= MAX_HEAD_BYTES => Progress::Failed,
            State::Head(head) => {
                head.push(next);
                Progress::More
            }
            State::Arguments(value) => {
                let end = value.push(next);
                found.push(Found::Arguments(next.into()));
                if end == End::Open { Progress::More } else { Progress::Done }
            }
        }
    }
}

impl Form {
    /// The name and the id in what comes before the arguments.
    fn read(self, head: &str) -> Option<(String, Option<String>)> {
        let (name, id) = match self {
            Self::Mistral => {
                let head = head.trim_end();
                let head = head.strip_suffix("[ARGS]").unwrap_or(head);
                match head.split_once("[CALL_ID]") {
                    Some((name, id)) => (name, Some(id.trim().to_owned())),
                    None => (head, None),
                }
            }
            Self::DeepSeek => {
                let (first, second) = head.split_once("<｜tool▁sep｜>")?;
                match second.trim().split_once('\n') {
                    Some((name, _)) => (name, None),
                    None => (first, None),
                }
            }
            Self::KimiK2 => {
                let (id, _) = head.split_once("<|tool_call_argument_begin|>")?;
                let id = id.trim();
                let name = id.rsplit_once(':').map_or(id, |(name, _)| name);
                (name.strip_prefix("functions.").unwrap_or(name), Some(id.to_owned()))
            }
        };
        let name = name.trim();
        let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
        is_name.then(|| (name.to_owned(), id.filter(|id| !id.is_empty())))
    }
}
