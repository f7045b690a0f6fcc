//! `sm chat`: a conversation on the terminal.

mod conversation;
mod history;
mod input;
mod line;

use std::path::Path;

use sm_runtime::{Engine, GenerationOptions, StopRules};

use crate::args::{EngineArgs, SamplingArgs};
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use conversation::{Conversation, Form};
use input::Input;
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
    /// System message
    #[arg(long, value_name = "S")]
    system: Option<String>,
    /// Generate at most N tokens per answer [default: until the context is full]
    #[arg(short, long, value_name = "N")]
    n_tokens: Option<usize>,
    /// Stop an answer before the string S; repeatable
    #[arg(long, value_name = "S")]
    stop: Vec<String>,
    /// Continue the lines as plain text, without a chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// Do not save the lines typed
    #[arg(long)]
    no_history: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Chats until the user leaves or the input ends.
///
/// # Errors
/// If the model cannot be loaded or has no chat template, an option is invalid, or a stream fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let interrupt = Interrupt::install()?;
    let engine = args.engine.start(1, console)?;
    let options = args.options(&engine);
    options.validate()?;
    if !args.raw {
        engine.chat_template().map_err(|error| Failure::NoChatTemplate { reason: error.to_string() })?;
    }
    let form = if args.raw { Form::Lines } else { Form::Messages };
    let mut conversation = Conversation::new(&engine, options, form)?;
    conversation.set_system(args.system.as_deref().unwrap_or_default());
    let mut input = Input::open(if args.no_history { None } else { history::path() })?;
    let recommended = args.sampling.from_model(engine.model().sampling_defaults());
    let name = args.engine.load.model.name();
    console.note(format_args!("{name}{recommended}; type /help for the commands"));
    let ended = answer_lines(&mut conversation, &mut input, &interrupt, console);
    input.close(console);
    args.engine.kv_disk.report(&engine, console);
    ended
}

impl Args {
    fn options(&self, engine: &Engine) -> GenerationOptions {
        GenerationOptions::new()
            .sampling(self.sampling.options(engine.model().sampling_defaults()))
            .max_new_tokens(self.n_tokens.unwrap_or_else(|| engine.context_len()))
            .stop(StopRules::new().sequences(&self.stop))
    }
}

/// Answers line after line.
fn answer_lines(
    conversation: &mut Conversation,
    input: &mut Input,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<(), Failure> {
    while let Some(text) = input.line()? {
        match Line::parse(&text) {
            Line::Blank => {}
            Line::Exit => break,
            Line::Help => console.message(format_args!("{HELP}")),
            Line::Invalid(message) => console.message(format_args!("{message}")),
            Line::Reset => conversation.reset(),
            Line::System(text) => conversation.set_system(&text),
            Line::Save(path) => save(conversation, &path, console),
            Line::Message(text) => {
                let answered = conversation.answer(&text, interrupt, console);
                interrupt.end();
                match answered {
                    // A failed question does not end the conversation.
                    Err(failure @ Failure::Engine(_)) => console.failure(&failure),
                    other => other?,
                }
            }
        }
    }
    Ok(())
}

/// Writes the conversation to a file. A failure is reported, and the chat continues.
fn save(conversation: &Conversation, path: &Path, console: &Console) {
    let written = conversation
        .to_json()
        .and_then(|json| std::fs::write(path, json).map_err(Failure::file("write", path)));
    match written {
        Ok(()) => console.note(format_args!("saved to {}", path.display())),
        Err(failure) => console.failure(&failure),
    }
}
