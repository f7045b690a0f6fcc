//! `sm chat`: a conversation on the terminal.

mod conversation;
mod history;
mod input;
mod line;

use std::path::Path;

use sm_runtime::{GenerationOptions, StopRules};

use crate::args::{EngineArgs, KvDiskArgs, PresetArgs, SamplingArgs, SpeculationArgs, chat_template};
use crate::commands::chat::conversation::Conversation;
use crate::commands::chat::input::Input;
use crate::commands::chat::line::{HELP, Line};
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// Talk with a model
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm chat -m ./Qwen3-0.6B
  sm chat -m model.gguf --system \"Answer in one sentence.\"
  printf 'Hello!\\nAnd in French?\\n' | sm chat -m model.gguf

In the chat, /help shows the commands. Ctrl-C stops an answer, not the program.
Answers go to standard output, everything else to standard error.")]
pub(crate) struct Args {
    /// The system message
    #[arg(long, value_name = "S")]
    system: Option<String>,
    /// End an answer after N tokens [default: where the context ends]
    #[arg(short, long, value_name = "N")]
    n_tokens: Option<usize>,
    /// End an answer where the text S appears, without it; may be repeated
    #[arg(long, value_name = "S")]
    stop: Vec<String>,
    /// No chat template: the model continues the lines as plain text
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// Do not remember the lines typed
    #[arg(long)]
    no_history: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    preset: PresetArgs,
    #[command(flatten)]
    kv_disk: KvDiskArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Talks until the user leaves or the input ends.
///
/// # Errors
/// If the model cannot be loaded or has no chat template, an option is impossible, or a stream fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let interrupt = Interrupt::install()?;
    let engine = args.engine.start(1, &args.preset, (&args.speculation, &args.kv_disk), console)?;
    let options = args.options(engine.context_len());
    options.validate()?;
    let template = if args.raw { None } else { Some(chat_template(&engine)?.clone()) };
    let mut conversation = Conversation::new(&engine, options, template)?;
    conversation.set_system(args.system.as_deref().unwrap_or_default());
    let mut input = Input::open(if args.no_history { None } else { history::path() })?;
    console.note(format_args!("{}; /help shows the commands", args.engine.model.name()));
    let ended = talk(&mut conversation, &mut input, &interrupt, console);
    input.close(console);
    args.kv_disk.report(&engine, console);
    ended
}

impl Args {
    fn options(&self, context_len: usize) -> GenerationOptions {
        GenerationOptions::new()
            .sampling(self.sampling.options())
            .max_new_tokens(self.n_tokens.unwrap_or(context_len))
            .stop(StopRules::new().sequences(self.stop.iter().cloned()))
    }
}

/// Answers line after line.
fn talk(
    conversation: &mut Conversation,
    input: &mut Input,
    interrupt: &Interrupt,
    console: &Console,
) -> Result<(), Failure> {
    while let Some(text) = input.line()? {
        match Line::parse(&text) {
            Line::Nothing => {}
            Line::Exit => break,
            Line::Help => console.tell(format_args!("{HELP}")),
            Line::Wrong(message) => console.tell(format_args!("{message}")),
            Line::Reset => conversation.reset(),
            Line::System(text) => conversation.set_system(&text),
            Line::Save(path) => save(conversation, &path, console),
            Line::Say(text) => {
                let answered = conversation.answer(&text, interrupt, console);
                interrupt.end();
                match answered {
                    // A question that cannot be answered does not end the conversation.
                    Err(failure @ (Failure::Engine(_) | Failure::Chat(_))) => console.failure(&failure),
                    other => other?,
                }
            }
        }
    }
    Ok(())
}

/// Writes the conversation; a failure is told, and the chat goes on.
fn save(conversation: &Conversation, path: &Path, console: &Console) {
    let written = conversation
        .to_json()
        .and_then(|json| std::fs::write(path, json).map_err(Failure::file("write", path)));
    match written {
        Ok(()) => console.note(format_args!("saved to {}", path.display())),
        Err(failure) => console.failure(&failure),
    }
}
