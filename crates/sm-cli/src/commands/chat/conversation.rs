//! A chat's messages and answers.

use sm_runtime::{
    ChatRequest, Completion, Engine, FinishReason, GenerationOptions, Message, Prompt, Session, SessionMode,
    SessionOptions,
};

use crate::console::{Console, to_json};
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// The session name of the only conversation.
const NAME: &str = "chat";

/// How a conversation becomes a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With the model's chat template.
    Messages,
    /// As plain text, line by line.
    Lines,
}

/// A conversation in a session that keeps its KV pages.
#[derive(Debug)]
pub(super) struct Conversation {
    session: Session,
    options: GenerationOptions,
    form: Form,
    /// The system message, if any, then alternating questions and answers.
    messages: Vec<Message>,
}

impl Conversation {
    /// A conversation without messages.
    ///
    /// # Errors
    /// If the engine rejects the session.
    pub(super) fn new(engine: &Engine, options: GenerationOptions, form: Form) -> Result<Self, Failure> {
        let mode = match form {
            // A template may render earlier messages differently as the conversation grows.
            Form::Messages => SessionMode::Prefix,
            Form::Lines => SessionMode::Append,
        };
        let session = engine.session(SessionOptions::named(NAME).mode(mode))?;
        Ok(Self { session, options, form, messages: Vec::new() })
    }

    /// Forgets all messages but the system message.
    pub(super) fn reset(&mut self) {
        self.messages.retain(|message| message.role() == "system");
        self.forget();
    }

    /// Starts over with a new system message, or without one if it is empty.
    pub(super) fn set_system(&mut self, text: &str) {
        self.messages.clear();
        self.forget();
        if !text.is_empty() {
            self.messages.push(Message::new("system", text));
        }
    }

    fn forget(&self) {
        // Fails harmlessly before the first answer, when the session does not exist yet.
        let _ = self.session.forget();
    }

    /// Prints the answer as it is generated. Forgets the question if there is none.
    ///
    /// # Errors
    /// If the context is full, the template or a step fails, or stdout is closed.
    pub(super) fn answer(
        &mut self,
        question: &str,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<(), Failure> {
        self.messages.push(Message::new("user", question));
        let answered = self.generate(self.prompt(question), interrupt, console);
        let completion = answered.inspect_err(|_| _ = self.messages.pop())?;
        console.piece("\n")?;
        console.note(format_args!("{}", summary(&completion)));
        self.messages.push(Message::new("assistant", &completion.text));
        Ok(())
    }

    /// The prompt for the session, which only computes what is new.
    fn prompt(&self, question: &str) -> Prompt {
        match self.form {
            Form::Messages => ChatRequest::new().messages(self.messages.iter().cloned()).into(),
            Form::Lines => Prompt::Append(question.to_owned()),
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

    /// All messages, as a JSON array of objects with `role` and `content`.
    ///
    /// # Errors
    /// If they cannot be serialized.
    pub(super) fn to_json(&self) -> Result<String, Failure> {
        to_json(&self.messages)
    }
}

fn summary(completion: &Completion) -> String {
    let Completion { finish_reason, usage, timings, .. } = completion;
    let rate = timings.decode_tokens_per_second(usage);
    let ended = match finish_reason {
        FinishReason::Cancelled => ", stopped",
        FinishReason::Length => ", cut off at -n",
        FinishReason::ContextLimit => ", the context is full; /reset starts again",
        _ => "",
    };
    format!(
        "[{} of {} tokens new, {} at {rate:.1} tok/s{ended}]",
        usage.prompt_tokens - usage.cached_tokens,
        usage.prompt_tokens,
        usage.generated_tokens
    )
}
