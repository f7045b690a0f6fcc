//! Finds calls in the text of an answer, in the form of a model family.
//!
//! A form has marks that calls begin with, and a body. The body is read character by character, so that nothing can depend on how
//! the text is divided. What begins like a call and turns out not to be one is text.

mod named;
mod objects;
mod tagged;
mod value;

use named::NamedCall;
use objects::ObjectCalls;
use tagged::TaggedCall;

use super::ToolForm;
use super::form::Marks;
use super::reading::Reading;
use super::reasoning::open_end;
use super::tools::Tools;

/// What was found in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Reasoning(String),
    Content(String),
    /// A call begins, with an id if the model gave it one.
    Call {
        name: String,
        id: Option<String>,
    },
    /// More of the arguments of the last call.
    Arguments(String),
}

/// How far a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    /// The character was its last one.
    Done,
    /// The character cannot follow.
    Failed,
}

/// Reads what follows the mark of a call.
#[derive(Clone, Debug)]
enum Body {
    Objects(ObjectCalls),
    Named(NamedCall),
    Tagged(TaggedCall),
    /// What comes first decides: Mistral's lists are objects, and its newer models write a name.
    Mistral,
}

impl Body {
    fn push(&mut self, next: char, found: &mut Vec<Found>) -> Progress {
        match self {
            Self::Objects(body) => body.push(next, found),
            Self::Named(body) => body.push(next, found),
            Self::Tagged(body) => body.push(next, found),
            Self::Mistral if next.is_whitespace() => Progress::More,
            Self::Mistral => {
                *self = match next {
                    '[' | '{' => Self::Objects(ObjectCalls::default()),
                    _ => Self::Named(NamedCall::mistral()),
                };
                self.push(next, found)
            }
        }
    }

    /// The call that a body was cut in, if it says which.
    fn cut(&mut self) -> Option<Found> {
        match self {
            Self::Objects(body) => body.cut(),
            Self::Named(body) => body.cut(),
            // A call begins with its name, and what there is may be the beginning of a longer one.
            Self::Tagged(_) | Self::Mistral => None,
        }
    }
}

/// Reads the text of an answer.
#[derive(Clone, Debug)]
pub(super) struct CallReader {
    form: ToolForm,
    marks: Marks,
    tools: Tools,
    /// Whether what begins like a call is one: calls are forced, or there was one before.
    expects_call: bool,
    state: State,
    /// Text that waits: what may be the beginning of a mark, and white space, which is left out beside calls.
    held: String,
    /// What was read of a call that has not begun yet, with the white space before it. It is text if there is no call.
    unproved: String,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing but white space has come.
    Beginning,
    Text,
    /// In a call, which has begun or not.
    Call {
        body: Body,
        has_begun: bool,
    },
    /// After a call.
    Between,
}

impl CallReader {
    pub(super) fn new(reading: &Reading) -> Self {
        Self {
            form: reading.form,
            marks: reading.form.marks(),
            tools: reading.tools.clone(),
            expects_call: reading.must_call,
            state: State::Beginning,
            held: String::new(),
            unproved: String::new(),
        }
    }

    pub(super) fn push(&mut self, text: &str, found: &mut Vec<Found>) {
        self.held.push_str(text);
        while self.advance(found) {}
    }

    /// What was held back, at the end. Where a call is forced, and behind another one, it is a call that a limit has cut, and no
    /// text: clients show content to people. If its name is there, it is a call without arguments; `finish_reason` says why.
    pub(super) fn finish(&mut self, found: &mut Vec<Found>) {
        let rest = std::mem::take(&mut self.unproved) + &std::mem::take(&mut self.held);
        match &mut self.state {
            State::Call { has_begun: true, .. } => {}
            State::Call { body, .. } if self.expects_call => found.extend(body.cut()),
            // Nothing but the beginning of a mark is held here.
            State::Between => {}
            State::Beginning | State::Text | State::Call { .. } => found.push(Found::Content(rest)),
        }
    }

    /// One step. Returns whether there may be another.
    fn advance(&mut self, found: &mut Vec<Found>) -> bool {
        match &self.state {
            State::Beginning => self.begin(),
            State::Text => self.read_text(found),
            State::Call { .. } => self.read_call(found),
            State::Between => self.read_between(),
        }
    }

    fn begin(&mut self) -> bool {
        let text = self.held.trim_start();
        if text.is_empty() {
            return false;
        }
        let is_bare = self.marks.is_bare && text.starts_with('{');
        let n_blank = self.held.len() - text.len();
        match is_bare {
            true => self.open(n_blank, ""),
            false => self.state = State::Text,
        }
        true
    }

    fn read_text(&mut self, found: &mut Vec<Found>) -> bool {
        let marks = self.marks.open.iter().chain(self.marks.section);
        let first = marks.clone().filter_map(|mark| Some((self.held.find(mark)?, *mark)));
        if let Some((start, mark)) = first.min_by_key(|(start, mark)| (*start, std::cmp::Reverse(mark.len())))
        {
            let n_text = self.held[..start].trim_end().len();
            found.push(Found::Content(self.held.drain(..n_text).collect()));
            match self.marks.open.contains(&mark) {
                true => self.open(start - n_text, mark),
                false => self.state = State::Between,
            }
            return true;
        }
        let n_open = marks.map(|mark| open_end(&self.held, mark)).max().unwrap_or(0);
        let n_text = self.held[..self.held.len() - n_open].trim_end().len();
        found.push(Found::Content(self.held.drain(..n_text).collect()));
        false
    }

    /// Goes into a call, whose mark comes after some white space.
    fn open(&mut self, n_blank: usize, mark: &'static str) {
        self.unproved = self.held.drain(..n_blank + mark.len()).collect();
        let body = match self.form {
            ToolForm::Hermes | ToolForm::Granite | ToolForm::Phi4 | ToolForm::Harmony => {
                Body::Objects(ObjectCalls::default())
            }
            ToolForm::Llama => Body::Objects(ObjectCalls::of_known(self.tools.clone())),
            ToolForm::Mistral => Body::Mistral,
            ToolForm::DeepSeek => Body::Named(NamedCall::deep_seek()),
            ToolForm::KimiK2 => Body::Named(NamedCall::kimi_k2()),
            ToolForm::QwenCoder if mark == "<function=" => {
                Body::Tagged(TaggedCall::in_function(self.tools.clone()))
            }
            ToolForm::QwenCoder => Body::Tagged(TaggedCall::qwen_coder(self.tools.clone())),
            ToolForm::Glm => Body::Tagged(TaggedCall::glm(self.tools.clone())),
        };
        self.state = State::Call { body, has_begun: false };
    }

    fn read_call(&mut self, found: &mut Vec<Found>) -> bool {
        let State::Call { body, has_begun } = &mut self.state else { return false };
        let mut n_read = 0;
        let mut progress = Progress::More;
        for next in self.held.chars() {
            let n_before = found.len();
            progress = body.push(next, found);
            if progress == Progress::Failed {
                break;
            }
            n_read += next.len_utf8();
            if found[n_before..].iter().any(|found| matches!(found, Found::Call { .. })) {
                *has_begun = true;
                self.expects_call = true;
                self.unproved.clear();
            } else if !*has_begun {
                self.unproved.push(next);
            }
            if progress == Progress::Done {
                break;
            }
        }
        self.held.drain(..n_read);
        match (progress, *has_begun) {
            (Progress::More, _) => return false,
            (_, true) => self.state = State::Between,
            (_, false) => {
                found.push(Found::Content(std::mem::take(&mut self.unproved)));
                self.state = State::Text;
            }
        }
        true
    }

    fn read_between(&mut self) -> bool {
        let text = self.held.trim_start();
        let n_blank = self.held.len() - text.len();
        if text.is_empty() {
            return false;
        }
        if let Some(mark) = self.marks.open.iter().find(|mark| text.starts_with(**mark)) {
            self.open(n_blank, mark);
            return true;
        }
        if self.marks.is_bare && text.starts_with('{') {
            self.open(n_blank, "");
            return true;
        }
        let mut others = self.marks.section.iter().chain(self.marks.between);
        if let Some(mark) = others.find(|mark| text.starts_with(**mark)) {
            self.held.drain(..n_blank + mark.len());
            return true;
        }
        let mut marks = self.marks.open.iter().chain(self.marks.section).chain(self.marks.between);
        if marks.any(|mark| mark.starts_with(text)) {
            return false;
        }
        self.held.drain(..n_blank);
        self.state = State::Text;
        true
    }
}
