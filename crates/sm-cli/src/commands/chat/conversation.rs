//! The messages of a chat, and the answers to them.

use sm_runtime::model::chat::{ChatRequest, ChatTemplate, Message};
use sm_runtime::{
    Completion, Engine, FinishReason, GenerationOptions, Prompt, Session, SessionMode, SessionOptions,
};

use crate::console::{Console, to_json};
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// What the engine calls the only conversation that it has.
const NAME: &str = "chat";

/// A conversation with a model, which keeps the keys and values of what was said.
#[derive(Debug)]
pub(super) struct Conversation {
    session: Session,
    options: GenerationOptions,
    /// How messages become text; one after the other as they are if none.
    template: Option<ChatTemplate>,
    /// The system message if there is one, then questions and answers in turn.
    messages: Vec<Message>,
}

impl Conversation {
    /// A conversation in which nothing was said.
    ///
    /// # Errors
    /// If the engine refuses the session.
    pub(super) fn new(
        engine: &Engine,
        options: GenerationOptions,
        template: Option<ChatTemplate>,
    ) -> Result<Self, Failure> {
        // A template renders everything anew, and may render earlier messages differently than before.
        let mode = if template.is_some() { SessionMode::Prefix } else { SessionMode::Append };
        let session = engine.session(SessionOptions::named(NAME).mode(mode))?;
        Ok(Self { session, options, template, messages: Vec::new() })
    }

    /// Forgets what was said, but not the system message.
    pub(super) fn reset(&mut self) {
        self.messages.retain(|message| message.role() == "system");
        self.forget();
    }

    /// Starts anew with another system message; an empty one is none.
    pub(super) fn set_system(&mut self, text: &str) {
        self.messages.clear();
        self.forget();
        if !text.is_empty() {
            self.messages.push(Message::new("system", text));
        }
    }

    fn forget(&self) {
        // Before the first answer there is nothing to forget.
        let _ = self.session.forget();
    }

    /// Prints the answer as it grows. Where there is none, the question is forgotten.
    ///
    /// # Errors
    /// If the context is full, a step fails, or standard output is closed.
    pub(super) fn answer(
        &mut self,
        question: &str,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<(), Failure> {
        self.messages.push(Message::new("user", question));
        let answered = self.prompt(question).and_then(|prompt| self.generate(prompt, interrupt, console));
        let completion = answered.inspect_err(|_| _ = self.messages.pop())?;
        console.piece("\n")?;
        console.note(format_args!("{}", summary(&completion)));
        self.messages.push(Message::new("assistant", &completion.text));
        Ok(())
    }

    /// What the session is to continue; only what it has not seen is computed.
    fn prompt(&self, question: &str) -> Result<Prompt, Failure> {
        match &self.template {
            Some(template) => Ok(Prompt::Chat(template.render(&ChatRequest::new(&self.messages))?)),
            None => Ok(Prompt::Append(question.to_owned())),
        }
    }

    fn generate(
        &self,
        prompt: Prompt,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<Completion, Failure> {
        let mut stream = self.session.stream(prompt, self.options.clone())?;
        let cancel = stream.cancel_token();
        interrupt.begin(move || cancel.cancel());
        while let Some(event) = stream.next_blocking() {
            console.piece(&event?.text)?;
        }
        Ok(stream.finish()?.swap_remove(0))
    }

    /// All messages, as an array of objects with `role` and `content`.
    ///
    /// # Errors
    /// If they have no JSON form.
    pub(super) fn to_json(&self) -> Result<String, Failure> {
        to_json(&self.messages)
    }
}

fn summary(completion: &Completion) -> String {
    let Completion { finish_reason, usage, timings, .. } = completion;
    let rate = timings.decode_tokens_per_second(usage);
    let ended = match finish_reason {
        FinishReason::Cancelled => ", stopped",
        FinishReason::Length => ", cut at -n",
        FinishReason::ContextLimit => ", the context is full: /reset starts anew",
        _ => "",
    };
    format!(
        "[{} of {} tokens new, {} at {rate:.1} tok/s{ended}]",
        usage.prompt_tokens - usage.cached_tokens,
        usage.prompt_tokens,
        usage.generated_tokens
    )
}
