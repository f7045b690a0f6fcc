//! The messages of a chat.

use serde_json::Value;
use sm_runtime::model::chat::Message;
use sm_runtime::{
    Completion, Engine, Error, GenerationOptions, LimitedResource, Prompt, Session, SessionMode,
    SessionOptions,
};
use sm_server::chat::AnswerStart;
use sm_server::chat::reasoning::Splitter;

use super::answer::{Answer, Question, summary};
use crate::args::ChatSetup;
use crate::console::{Console, to_json};
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// The session of the only conversation.
const NAME: &str = "chat";

/// How a conversation becomes a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By the model's chat template.
    Messages,
    /// As plain text, one line after the other.
    Lines,
}

/// What happens when a conversation no longer fits into the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnFull {
    /// Leave the oldest turns out
    Drop,
    /// Refuse the message
    Error,
}

/// A conversation with a model, in a session that keeps its keys and values.
#[derive(Debug)]
pub(super) struct Conversation<'e> {
    engine: &'e Engine,
    session: Session,
    options: GenerationOptions,
    form: Form,
    setup: ChatSetup,
    on_full: OnFull,
    /// The system message if there is one, then questions and answers in turn.
    messages: Vec<Message>,
    /// Whether the session holds all messages but the last question.
    is_in_session: bool,
    /// How often the last question was answered again: a given seed would repeat the answer otherwise.
    n_again: u64,
}

impl<'e> Conversation<'e> {
    /// A conversation without messages.
    ///
    /// # Errors
    /// If the engine refuses the session.
    pub(super) fn new(
        engine: &'e Engine,
        options: GenerationOptions,
        form: Form,
        setup: ChatSetup,
        on_full: OnFull,
    ) -> Result<Self, Failure> {
        let mode = match form {
            // A template may render earlier messages differently as the conversation grows.
            Form::Messages => SessionMode::Prefix,
            Form::Lines => SessionMode::Append,
        };
        let session = engine.session(SessionOptions::named(NAME).mode(mode))?;
        Ok(Self {
            engine,
            session,
            options,
            form,
            setup,
            on_full,
            messages: Vec::new(),
            is_in_session: true,
            n_again: 0,
        })
    }

    /// Forgets all messages but the system message.
    pub(super) fn reset(&mut self) {
        self.messages.retain(|message| message.role() == "system");
        self.forget();
    }

    /// Starts again with another system message, or without one if it is empty.
    pub(super) fn set_system(&mut self, text: &str) {
        self.messages.clear();
        self.forget();
        if !text.is_empty() {
            self.messages.push(Message::new("system", text));
        }
    }

    /// Replaces all messages by those of a JSON array.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(&mut self, json: &str) -> Result<usize, String> {
        let Ok(Value::Array(list)) = serde_json::from_str(json) else {
            return Err("it has no JSON array of messages, as /save writes it".to_owned());
        };
        self.messages = Message::list_from_json(list).map_err(|error| error.to_string())?;
        self.forget();
        Ok(self.messages.len())
    }

    /// Forgets the last question and what follows it, and gives its text.
    pub(super) fn undo(&mut self) -> Option<String> {
        let last = self.messages.iter().rposition(|message| message.role() == "user")?;
        let question = self.messages.drain(last..).next()?;
        self.forget();
        Some(content(&question).to_owned())
    }

    /// The session forgets what it holds; the next prompt brings all messages again.
    fn forget(&mut self) {
        self.is_in_session = false;
        // Before the first answer, the engine does not know the session.
        let _ = self.session.forget();
    }

    /// Prints the answer as it is generated. If there is none, the question is forgotten.
    ///
    /// # Errors
    /// If the context is full, the template or a step fails, or stdout is closed.
    pub(super) fn answer(
        &mut self,
        question: &str,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<(), Failure> {
        self.n_again = 0;
        self.answer_with(question, interrupt, console)
    }

    /// Answers the last question again; `false` if there is none.
    ///
    /// # Errors
    /// As [`Conversation::answer`]. The question then stands without an answer.
    pub(super) fn answer_again(&mut self, interrupt: &Interrupt, console: &Console) -> Result<bool, Failure> {
        let before = self.messages.clone();
        let Some(question) = self.undo() else { return Ok(false) };
        self.n_again += 1;
        self.answer_with(&question, interrupt, console).inspect_err(|_| self.messages = before)?;
        Ok(true)
    }

    fn answer_with(
        &mut self,
        question: &str,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<(), Failure> {
        let before = self.messages.clone();
        self.messages.push(Message::new("user", question));
        let answered = self.answer_fitting(interrupt, console);
        let (answer, completion) = answered.inspect_err(|_| self.messages = before)?;
        self.messages.push(answer.message());
        self.is_in_session = true;
        console.note(format_args!("{}", summary(&completion)));
        Ok(())
    }

    /// Leaves out the oldest turns until the last question and an answer fit into the context.
    fn answer_fitting(
        &mut self,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<(Answer, Completion), Failure> {
        let mut options = self.options.clone();
        options.sampling.seed = options.sampling.seed.map(|seed| seed.wrapping_add(self.n_again));
        let context_len = self.engine.context_len();
        if self.on_full == OnFull::Drop {
            let room = options.limits.max_new_tokens.min(context_len / 4);
            options.limits.max_input_tokens = Some(context_len.saturating_sub(room).max(1));
        }
        let mut n_dropped = 0;
        loop {
            let begin = |console: &Console| {
                if n_dropped > 0 {
                    console.note(format_args!("{}", dropped(n_dropped, context_len)));
                }
            };
            match self.question(&options).answer(interrupt, console, &begin) {
                Err(Failure::Engine(error)) if self.on_full == OnFull::Drop && is_full(&error) => {
                    if self.drop_oldest_turn() {
                        n_dropped += 1;
                    } else if options.limits.max_input_tokens.take().is_none() {
                        return Err(Failure::Engine(error));
                    }
                }
                other => return other,
            }
        }
    }

    /// The last question, for the session, which only computes what it has not seen.
    fn question<'q>(&'q self, options: &'q GenerationOptions) -> Question<'q> {
        let last = self.messages.last().map(content).unwrap_or_default();
        let (prompt, splitter) = match self.form {
            Form::Messages => {
                let template = self.engine.chat_template().ok();
                let rendered = template.and_then(|template| self.setup.rendered(template, &self.messages));
                let request = self.setup.request(self.messages.iter().cloned());
                (
                    request.into(),
                    Splitter::after(rendered.as_deref().map(AnswerStart::after_prompt).unwrap_or_default()),
                )
            }
            Form::Lines => {
                let text = if self.is_in_session { last.to_owned() } else { self.plain_text() };
                (Prompt::Append(text), Splitter::of_plain_text())
            }
        };
        Question { session: &self.session, prompt, options, splitter }
    }

    /// Forgets the oldest question and what follows it, unless it is the last one; says whether it did.
    fn drop_oldest_turn(&mut self) -> bool {
        let mut questions = (0..self.messages.len()).filter(|&index| self.messages[index].role() == "user");
        let (Some(first), Some(second)) = (questions.next(), questions.next()) else { return false };
        self.messages.drain(first..second);
        self.forget();
        true
    }

    /// Sets an option by its name.
    ///
    /// # Errors
    /// What is wrong with the name or the value.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let json = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        if name == "think" {
            let think = json.as_bool().ok_or("think is true or false")?;
            self.setup.set_thinking(think);
            return Ok(());
        }
        let mut options = self.options.clone();
        let name = sm_server::wire::options::canonical(name);
        sm_server::wire::options::set(&mut options, name, &json)
            .unwrap_or_else(|| Err("there is no such option; /set shows the options".to_owned()))?;
        options.validate().map_err(|error| error.to_string())?;
        self.options = options;
        Ok(())
    }

    /// The options that people change most, one per line.
    pub(super) fn settings(&self) -> String {
        let GenerationOptions { sampling, limits, .. } = &self.options;
        let seed = sampling.seed.map_or("random".to_owned(), |seed| seed.to_string());
        let rows = [
            ("temp", sampling.temperature.to_string()),
            ("top_k", sampling.top_k.to_string()),
            ("top_p", sampling.top_p.to_string()),
            ("min_p", sampling.min_p.to_string()),
            ("repeat_penalty", sampling.repetition_penalty.to_string()),
            ("seed", seed),
            ("n_tokens", limits.max_new_tokens.min(self.engine.context_len()).to_string()),
        ];
        let rows = rows.iter().map(|(name, value)| format!("{name:<15} {value}\n"));
        rows.collect::<String>() + "and every option of a request that sm batch takes"
    }

    /// All messages, as an array of objects with `role` and `content`.
    ///
    /// # Errors
    /// If they have no JSON form.
    pub(super) fn to_json(&self) -> Result<String, Failure> {
        to_json(&self.messages)
    }

    /// The messages as plain text, for a session that holds nothing yet.
    fn plain_text(&self) -> String {
        self.messages.iter().map(content).collect()
    }
}

/// The text of a message.
fn content(message: &Message) -> &str {
    message.fields().get("content").and_then(Value::as_str).unwrap_or_default()
}

fn is_full(error: &Error) -> bool {
    matches!(
        error,
        Error::ResourceLimit { resource: LimitedResource::Context | LimitedResource::InputTokens, .. }
    )
}

fn dropped(n_dropped: usize, context_len: usize) -> String {
    let (turns, were) = if n_dropped == 1 { ("turn", "was") } else { ("turns", "were") };
    format!(
        "the context of {context_len} tokens is full: the oldest {n_dropped} {turns} {were} left out; /reset starts again, -c makes it \
         larger"
    )
}
