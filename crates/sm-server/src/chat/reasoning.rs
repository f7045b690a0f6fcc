//! What a model thinks before it answers, told apart from the answer while both arrive in pieces.

use std::borrow::Cow;

use sm_runtime::{ChatRequest, ChatTemplate};

/// The marks around a model's thoughts.
const MARKS: [(&str, &str); 3] =
    [("<think>", "</think>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>")];

/// Where the thoughts of an answer go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// To a field of their own: `deepseek` and `auto` in llama.cpp.
    #[default]
    Apart,
    /// They stay in the content, with their marks, as the model writes them: `none` in llama.cpp.
    InContent,
}

impl ReasoningFormat {
    /// The names in llama.cpp's `--reasoning-format` and `reasoning_format`.
    pub const NAMES: [(&str, Self); 3] =
        [("none", Self::InContent), ("deepseek", Self::Apart), ("auto", Self::Apart)];

    /// Its first name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("auto", |(name, _)| name)
    }

    /// The format with a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}

/// A part of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the model thinks.
    Thought,
    /// What it answers.
    Answer,
}

/// Where an answer starts: its prompt may have opened the thoughts already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerStart {
    /// The mark that ends the thoughts, if the prompt has opened them.
    thinks_until: Option<&'static str>,
}

impl AnswerStart {
    /// Where the answer to a rendered prompt starts.
    pub fn after_prompt(prompt: &str) -> Self {
        let prompt = prompt.trim_end();
        let open = MARKS.iter().find(|(open, _)| prompt.ends_with(open));
        Self { thinks_until: open.map(|(_, close)| *close) }
    }

    /// The mark that ends the thoughts, if the prompt has opened them.
    pub(super) fn end_of_thoughts(self) -> Option<&'static str> {
        self.thinks_until
    }

    /// Where the answer to messages starts. Renders them if the template can open the thoughts; one that fails, fails the request.
    pub fn of_answer_to(request: &ChatRequest, template: &ChatTemplate) -> Self {
        let source = template.source(request.has_tools());
        if !MARKS.iter().any(|(open, _)| source.contains(open)) {
            return Self::default();
        }
        request.to_text(template).map(|prompt| Self::after_prompt(&prompt)).unwrap_or_default()
    }
}

/// Where an output stands.
#[derive(Clone, Debug)]
enum State {
    /// Only white space, or what may become a mark, has come.
    Beginning,
    /// White space before the thoughts is left out.
    BeforeThought(&'static str),
    /// Until this mark comes. White space before it is left out.
    Thinking(&'static str),
    /// White space before the answer is left out.
    BeforeAnswer,
    Answering,
}

/// Tells the parts of an output apart.
#[derive(Clone, Debug)]
pub struct Splitter {
    state: State,
    /// What may be the beginning of a mark.
    held: String,
}

impl Splitter {
    /// A splitter of an output that is an answer as a whole.
    pub fn of_plain_text() -> Self {
        Self { state: State::Answering, held: String::new() }
    }

    /// A splitter of the answer to a prompt.
    pub fn after(start: AnswerStart) -> Self {
        Self { state: start.thinks_until.map_or(State::Beginning, State::BeforeThought), held: String::new() }
    }

    /// Takes the next piece, and gives what is certain of it.
    pub fn push(&mut self, piece: &str) -> Vec<(Part, String)> {
        self.held.push_str(piece);
        let mut parts = Vec::new();
        while let Some(part) = self.advance() {
            parts.extend(part.filter(|(_, text)| !text.is_empty()));
        }
        parts
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> Vec<(Part, String)> {
        let mut rest = std::mem::take(&mut self.held);
        let part = if matches!(self.state, State::Thinking(_)) { Part::Thought } else { Part::Answer };
        if part == Part::Thought {
            rest.truncate(rest.trim_end().len());
        }
        if rest.is_empty() { Vec::new() } else { vec![(part, rest)] }
    }

    /// One step: what it gives, or `None` where more text is needed.
    fn advance(&mut self) -> Option<Option<(Part, String)>> {
        match self.state {
            State::Beginning => self.begin(),
            State::BeforeThought(close) => self.skip_blank(State::Thinking(close)),
            State::Thinking(close) => match self.held.find(close) {
                Some(end) => {
                    let thought = self.held[..end].trim_end().to_owned();
                    self.held.drain(..end + close.len());
                    self.state = State::BeforeAnswer;
                    Some(Some((Part::Thought, thought)))
                }
                None => {
                    let n_certain = self.held.len() - open_end(&self.held, close);
                    let n_certain = self.held[..n_certain].trim_end().len();
                    let thought: String = self.held.drain(..n_certain).collect();
                    if thought.is_empty() { None } else { Some(Some((Part::Thought, thought))) }
                }
            },
            State::BeforeAnswer => self.skip_blank(State::Answering),
            State::Answering if self.held.is_empty() => None,
            State::Answering => Some(Some((Part::Answer, std::mem::take(&mut self.held)))),
        }
    }

    /// Leaves white space out, and goes on to a state at the first other character.
    fn skip_blank(&mut self, next: State) -> Option<Option<(Part, String)>> {
        let n_blank = self.held.len() - self.held.trim_start().len();
        self.held.drain(..n_blank);
        if self.held.is_empty() {
            return None;
        }
        self.state = next;
        Some(None)
    }

    fn begin(&mut self) -> Option<Option<(Part, String)>> {
        let text = self.held.trim_start();
        if let Some((open, close)) = MARKS.iter().find(|(open, _)| text.starts_with(open)) {
            let n_bytes = self.held.len() - text.len() + open.len();
            self.held.drain(..n_bytes);
            self.state = State::BeforeThought(close);
            return Some(None);
        }
        if MARKS.iter().any(|(open, _)| open.starts_with(text)) {
            return None;
        }
        self.state = State::Answering;
        Some(None)
    }
}

/// The length of the longest end of a text with which a mark begins.
pub(super) fn open_end(text: &str, mark: &str) -> usize {
    (1..mark.len()).rev().find(|&n| mark.is_char_boundary(n) && text.ends_with(&mark[..n])).unwrap_or(0)
}

/// A whole output: what was thought, and the answer.
pub fn split(mut splitter: Splitter, output: &str) -> (String, Cow<'_, str>) {
    if matches!(splitter.state, State::Answering) {
        return (String::new(), output.into());
    }
    let (mut thought, mut answer) = (String::new(), String::new());
    let mut parts = splitter.push(output);
    parts.extend(splitter.finish());
    for (part, text) in parts {
        match part {
            Part::Thought => thought.push_str(&text),
            Part::Answer => answer.push_str(&text),
        }
    }
    (thought, answer.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_depend_on_the_pieces() {
        for (prompt, output, thought, answer) in [
            (None, "<think> a \n b </think>\n c", "a \n b", "c"),
            (None, "<think> cut ", "cut", ""),
            (None, "<think>é</thi", "é</thi", ""),
            (None, "<think>\nA < B </thi\n</think>\n\nYes.", "A < B </thi", "Yes."),
            (None, "\n<think></think>Yes <think>", "", "Yes <think>"),
            (None, "Yes. </think>", "", "Yes. </think>"),
            (None, "<thin", "", "<thin"),
            (None, " plain", "", " plain"),
            (None, "[THINK]a[/THINK] b", "a", "b"),
            (None, "<think>never ends", "never ends", ""),
            (Some("user: ?\n<think>\n"), "hm</think>\n\nNo.", "hm", "No."),
            (Some("user: ?\n<think>\n\n</think>\n\n"), "No.", "", "No."),
            (Some("no mark"), "é", "", "é"),
        ] {
            let splitter = Splitter::after(prompt.map_or(AnswerStart::default(), AnswerStart::after_prompt));
            assert_eq!(split(splitter.clone(), output), (thought.to_owned(), answer.into()), "{output:?}");
            let mut by_letter = splitter;
            let mut parts: Vec<_> = output.chars().flat_map(|c| by_letter.push(&c.to_string())).collect();
            parts.extend(by_letter.finish());
            let of = |wanted| {
                parts
                    .iter()
                    .filter(|(part, _)| *part == wanted)
                    .map(|(_, text)| text.as_str())
                    .collect::<String>()
            };
            assert_eq!(
                (of(Part::Thought).as_str(), of(Part::Answer).as_str()),
                (thought, answer),
                "{output:?}"
            );
        }
    }
}
