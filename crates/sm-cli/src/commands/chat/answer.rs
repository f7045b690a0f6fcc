//! One answer: from the prompt to the message that is kept.

use serde_json::json;
use sm_runtime::model::chat::Message;
use sm_runtime::{Completion, FinishReason, GenerationOptions, Prompt, Session};
use sm_server::chat::reasoning::{Part, Splitter, split};

use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::terminal::NoEcho;

/// An answer, and what was thought before it.
#[derive(Debug)]
pub(super) struct Answer {
    thought: String,
    text: String,
}

impl Answer {
    /// As templates take it: most leave the thoughts of earlier answers out, and find them in a field of their own.
    pub(super) fn message(&self) -> Message {
        if self.thought.is_empty() {
            return Message::new("assistant", &self.text);
        }
        let fields = json!({"role": "assistant", "content": self.text, "reasoning_content": self.thought});
        Message::from_json(fields).unwrap_or_else(|_| Message::new("assistant", &self.text))
    }
}

/// What is asked.
pub(super) struct Question<'q> {
    pub(super) session: &'q Session,
    pub(super) prompt: Prompt,
    pub(super) options: &'q GenerationOptions,
    /// Tells thoughts from the answer.
    pub(super) splitter: Splitter,
}

impl Question<'_> {
    /// Generates the answer and prints it; `begin` is called before anything is printed.
    ///
    /// # Errors
    /// If the context is full, the template or a step fails, or stdout is closed.
    pub(super) fn answer(
        self,
        interrupt: &Interrupt,
        console: &Console,
        begin: &dyn Fn(&Console),
    ) -> Result<(Answer, Completion), Failure> {
        let mut stream = self.session.stream(self.prompt, self.options.clone())?;
        let cancel = stream.cancel_token();
        interrupt.begin(move || cancel.cancel());
        let _silent = NoEcho::begin();
        let mut printer = Printer { console, splitter: self.splitter.clone(), is_thinking: false };
        let mut has_begun = false;
        while let Some(event) = stream.next_blocking() {
            let event = event?;
            if !std::mem::replace(&mut has_begun, true) {
                begin(console);
            }
            printer.push(&event.text)?;
        }
        printer.finish()?;
        let completion = stream.finish()?.swap_remove(0);
        let (thought, text) = split(self.splitter, &completion.text);
        Ok((Answer { thought, text: text.into_owned() }, completion))
    }
}

/// Prints answers on stdout, and thoughts on stderr.
struct Printer<'c> {
    console: &'c Console,
    splitter: Splitter,
    is_thinking: bool,
}

impl Printer<'_> {
    fn push(&mut self, piece: &str) -> Result<(), Failure> {
        let parts = self.splitter.push(piece);
        self.print(parts)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let parts = self.splitter.finish();
        self.print(parts)?;
        self.console.piece("\n")
    }

    fn print(&mut self, parts: Vec<(Part, String)>) -> Result<(), Failure> {
        for (part, text) in parts {
            match part {
                Part::Thought => {
                    self.is_thinking = true;
                    self.console.thought(&text);
                }
                Part::Answer => {
                    // The thoughts end with their line.
                    if std::mem::take(&mut self.is_thinking) {
                        self.console.thought("\n\n");
                    }
                    self.console.piece(&text)?;
                }
            }
        }
        Ok(())
    }
}

/// The line below an answer.
pub(super) fn summary(completion: &Completion) -> String {
    let Completion { finish_reason, usage, timings, .. } = completion;
    let rate = timings.decode_tokens_per_second(usage);
    let ended = match finish_reason {
        FinishReason::Cancelled => ", stopped",
        FinishReason::Length => ", cut off at -n",
        FinishReason::ContextLimit => ", the context is full; /reset starts again, -c makes it larger",
        _ => "",
    };
    format!(
        "[{} of {} tokens new, {} at {rate:.1} tok/s{ended}]",
        usage.prompt_tokens - usage.cached_tokens,
        usage.prompt_tokens,
        usage.generated_tokens
    )
}
