//! The format of a model's answers, and whole answers.

use serde_json::Value;
use sm_runtime::model::tokenizer::Tokenizer;
use sm_runtime::{ChatTemplate, Grammar, SpecialTokens};

use super::grammar::Wanted;
use super::reading::Reading;
use super::tools::Tools;
use super::{AnswerStart, Piece, ReasoningFormat, Splitter, ToolForm, ToolUse};

/// How a model marks what it thinks and calls, and what it may call.
#[derive(Clone, Debug)]
pub struct AnswerFormat {
    reading: Reading,
    /// Whether some marks of thoughts are special tokens.
    has_special_thoughts: bool,
}

impl AnswerFormat {
    /// The format of a model that calls tools in this form. Without tools, nothing is taken for a call.
    pub fn new(form: ToolForm, tools: &[Value]) -> Self {
        let reasoning = ReasoningFormat::default();
        let reading = Reading { form, tools: Tools::new(tools), must_call: false, reasoning };
        Self { reading, has_special_thoughts: false }
    }

    /// The format of a model with this chat template.
    pub fn of_template(template: &ChatTemplate, tools: &[Value]) -> Self {
        let source = template.source(!tools.is_empty());
        Self {
            has_special_thoughts: source.contains("[THINK]"),
            ..Self::new(ToolForm::of_template(&source), tools)
        }
    }

    /// The same with another form of calls.
    #[must_use]
    pub fn with_form(mut self, form: ToolForm) -> Self {
        self.reading.form = form;
        self
    }

    /// The same for answers that use the tools like this.
    #[must_use]
    pub fn used(mut self, tool_use: &ToolUse) -> Self {
        self.reading.must_call = tool_use.must_call();
        self
    }

    /// The same with thoughts in another place.
    #[must_use]
    pub fn with_reasoning(mut self, reasoning: ReasoningFormat) -> Self {
        self.reading.reasoning = reasoning;
        self
    }

    /// The form of calls.
    pub fn form(&self) -> ToolForm {
        self.reading.form
    }

    /// Whether the text must contain special tokens, some of which are marks.
    pub fn special_tokens(&self) -> SpecialTokens {
        let Reading { form, tools, .. } = &self.reading;
        let are_marks = *form == ToolForm::Harmony
            || self.has_special_thoughts
            || (form.has_special_marks() && !tools.is_empty());
        if are_marks { SpecialTokens::Keep } else { SpecialTokens::Skip }
    }

    /// The grammar of answers that use the tools like this; `None` if whatever the model writes is right. `content` is the form of
    /// answers without calls.
    ///
    /// # Errors
    /// If the forms of text and calls cannot be combined.
    pub fn grammar(
        &self,
        tool_use: &ToolUse,
        content: Option<&Grammar>,
        start: AnswerStart,
        tokenizer: Option<&dyn Tokenizer>,
    ) -> Result<Option<Grammar>, String> {
        let Reading { form, tools, .. } = &self.reading;
        Wanted { form: *form, tools, tool_use, content, start, tokenizer }.grammar()
    }

    /// A splitter of an answer. Answers with different `seed`s have calls with different ids.
    pub fn splitter(&self, start: AnswerStart, seed: u64) -> Splitter {
        Splitter::new(&self.reading, start, seed)
    }

    /// A whole answer. The seed is that of [`AnswerFormat::splitter`].
    pub fn answer(&self, text: &str, start: AnswerStart, seed: u64) -> Answer {
        let mut splitter = self.splitter(start, seed);
        let mut answer = Answer::default();
        splitter.push(text).into_iter().chain(splitter.finish()).for_each(|piece| answer.push(piece));
        answer
    }
}

/// An answer, or what has come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What the model thought before it answered.
    pub reasoning: String,
    /// The text.
    pub content: String,
    /// What it calls, in order.
    pub calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call in the message with its result.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as JSON, as the model wrote them: not JSON if the answer was cut.
    pub arguments: String,
}

impl Answer {
    /// Appends a piece.
    pub fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Reasoning(text) => self.reasoning.push_str(&text),
            Piece::Content(text) => self.content.push_str(&text),
            Piece::Call { id, name, .. } => self.calls.push(ToolCall { id, name, arguments: String::new() }),
            Piece::Arguments { index, json } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.arguments.push_str(&json);
                }
            }
        }
    }
}
