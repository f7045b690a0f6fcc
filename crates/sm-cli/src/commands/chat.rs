//! `sm chat`: a conversation on the terminal.

mod answer;
mod conversation;
mod history;
mod input;
mod line;

use std::path::Path;

use sm_runtime::{Engine, GenerationOptions, StopRules};

use crate::args::{ChatArgs, EngineArgs, SamplingArgs, number};
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::prompt::read_file;
use crate::shown::shown;
use conversation::{Conversation, Form, OnFull};
use input::{Input, Typed};
use line::{HELP, Line};

/// Chat with a model
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm chat -m ./Qwen3-0.6B
  sm chat -m model.gguf --system \"Answer in one sentence.\"
  printf 'Hello!\\nAnd in French?\\n' | sm chat -m model.gguf

Type /help for the commands. Ctrl-C stops an answer, not the program.
Answers are written to stdout, everything else to stderr.")]
pub(crate) struct Args {
    /// Generate at most N tokens per answer; -1 is until the context is full [default: -1]
    #[arg(short, long, aliases = ["n-predict", "predict", "max-tokens"], value_name = "N", default_value = "-1", hide_default_value = true, value_parser = number::n_tokens, allow_negative_numbers = true)]
    n_tokens: usize,
    /// Stop an answer before the string S; repeatable
    #[arg(long, short_alias = 'r', alias = "reverse-prompt", value_name = "S")]
    stop: Vec<String>,
    /// Continue the lines as plain text, without a chat template
    #[arg(long)]
    raw: bool,
    /// What to do when the conversation no longer fits into the context
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnFull::Drop)]
    on_full: OnFull,
    /// Do not save the lines typed
    #[arg(long)]
    no_history: bool,
    #[command(flatten)]
    templating: ChatArgs,
    #[command(flatten)]
    pub(super) engine: EngineArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Chats until the user leaves or the input ends.
///
/// # Errors
/// If the model cannot be loaded or has no chat template, an option is invalid, or a stream fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    run_with(args, None, console)
}

/// As [`run`]; a question that is given is answered, and nothing else.
///
/// # Errors
/// As [`run`].
pub(super) fn run_with(args: &Args, question: Option<&str>, console: &Console) -> Result<(), Failure> {
    if let (true, Some(option)) = (args.raw, args.templating.given()) {
        return Err(Failure::Usage(format!(
            "{option} is for a chat template, and --raw uses none; leave one out"
        )));
    }
    let setup = args.templating.setup()?;
    let template = args.templating.template()?;
    let interrupt = Interrupt::install()?;
    let engine = args.engine.start_with_template(1, template, console)?;
    let options = args.options(&engine)?;
    options.validate()?;
    if !args.raw {
        engine.chat_template().map_err(|error| Failure::NoChatTemplate { reason: error.to_string() })?;
    }
    let form = if args.raw { Form::Lines } else { Form::Messages };
    let mut conversation = Conversation::new(&engine, options, form, setup, args.on_full)?;
    conversation.set_system(args.templating.system.as_deref().unwrap_or_default());
    let ended = match question {
        Some(question) => {
            let answered = conversation.answer(question, &interrupt, console);
            interrupt.end();
            answered
        }
        None => args.converse(&engine, &mut conversation, &interrupt, console),
    };
    args.engine.kv_disk.report(&engine, console);
    ended
}

impl Args {
    fn options(&self, engine: &Engine) -> Result<GenerationOptions, Failure> {
        Ok(GenerationOptions::new()
            .sampling(self.sampling.options(engine.model().sampling_defaults())?)
            .max_new_tokens(self.n_tokens)
            .stop(StopRules::new().sequences(&self.stop)))
    }

    /// Answers until the user leaves or the input ends.
    fn converse(
        &self,
        engine: &Engine,
        conversation: &mut Conversation<'_>,
        interrupt: &Interrupt,
        console: &Console,
    ) -> Result<(), Failure> {
        let mut input = Input::open(if self.no_history { None } else { history::path() })?;
        let recommended = self.sampling.recommended(engine.model().sampling_defaults());
        let name = self.engine.load.model.name();
        console.note(format_args!("{name}{recommended}; type /help for the commands"));
        while let Some(typed) = input.next(console)? {
            let line = match typed {
                Typed::Line(text) => Line::parse(&text),
                Typed::Quoted(text) if text.is_empty() => Line::Blank,
                Typed::Quoted(text) => Line::Message(text),
            };
            if line == Line::Exit {
                break;
            }
            let done = perform(line, conversation, interrupt, console);
            interrupt.end();
            match done {
                // A question that cannot be answered does not end the conversation.
                Err(failure @ Failure::Engine(_)) => console.failure(&failure),
                other => other?,
            }
        }
        Ok(())
    }
}

/// Does what a line says.
fn perform(
    line: Line,
    conversation: &mut Conversation<'_>,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<(), Failure> {
    match line {
        Line::Blank | Line::Exit => {}
        Line::Help => console.message(format_args!("{HELP}")),
        Line::Invalid(message) => console.message(format_args!("{message}")),
        Line::Reset => conversation.reset(),
        Line::Undo => match conversation.undo() {
            Some(question) => console.note(format_args!("forgot: {}", first_line(&question))),
            None => console.message(format_args!("there is no question to forget")),
        },
        Line::Regenerate => {
            if !conversation.answer_again(interrupt, console)? {
                console.message(format_args!("there is no question to answer again"));
            }
        }
        Line::System(text) => conversation.set_system(&text),
        Line::Settings => console.message(format_args!("{}", conversation.settings())),
        Line::Set(name, value) => {
            if let Err(message) = conversation.set(&name, &value) {
                console.message(format_args!("{name}: {message}"));
            }
        }
        Line::Save(path) => save(conversation, &path, console),
        Line::Load(path) => load(conversation, &path, console),
        Line::Message(text) => conversation.answer(&text, interrupt, console)?,
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Goes on with the conversation in a file. A failure is shown, and the chat continues.
fn load(conversation: &mut Conversation<'_>, path: &Path, console: &Console) {
    match read_file(path).map(|json| conversation.load(&json)) {
        Ok(Ok(n_messages)) => console.note(format_args!("loaded {n_messages} messages from {}", shown(path))),
        Ok(Err(message)) => console.message(format_args!("cannot load {}: {message}", shown(path))),
        Err(failure) => console.failure(&failure),
    }
}

/// Writes the conversation to a file. A failure is shown, and the chat continues.
fn save(conversation: &Conversation<'_>, path: &Path, console: &Console) {
    let written = conversation
        .to_json()
        .and_then(|json| std::fs::write(path, json).map_err(Failure::file("write", path)));
    match written {
        Ok(()) => console.note(format_args!("saved to {}", shown(path))),
        Err(failure) => console.failure(&failure),
    }
}
