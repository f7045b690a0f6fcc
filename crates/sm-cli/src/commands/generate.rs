//! `sm generate`: continues a prompt.

mod printer;
mod report;

use std::num::NonZeroUsize;
use std::time::Instant;

use sm_runtime::model::chat::{ChatRequest, Message};
use sm_runtime::{Completion, Engine, FinishReason, Prompt, Request, Select, TokenStream};

use crate::args::{
    EndArgs, EngineArgs, GrammarArgs, KvDiskArgs, PresetArgs, SamplingArgs, SpeculationArgs, chat_template,
};
use crate::commands::generate::printer::Printer;
use crate::commands::generate::report::{Report, summary};
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::prompt::PromptArgs;

/// Continue a prompt
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm generate -m model.gguf \"Once upon a time\"
  sm generate -m ./Qwen3-0.6B --chat \"Why is the sky blue?\" -n 200
  sm generate -m model.gguf -f prompt.txt --temp 0 --json
  sm generate -m model.gguf \"The best name for a cat is\" -n 5 --candidates 8
  sm generate --chat \"What is 17 + 25?\" --temp 0 --draft demo-draft
  sm generate -m ./Qwen3-0.6B --chat \"Describe a cat.\" --json-schema animal.json
  echo \"def fib(n):\" | sm generate -m model.gguf --stop \"def \"

The text goes to standard output and nothing else; timings go to standard error.
Ctrl-C ends the generation with what is there; the exit code is 130 then.")]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    end: EndArgs,
    /// Put the prompt into the model's chat template
    #[arg(long)]
    chat: bool,
    /// The system message of the chat template
    #[arg(long, value_name = "S", requires = "chat")]
    system: Option<String>,
    /// Print N continuations, each under a line of its own; the prompt is computed once
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    candidates: Option<NonZeroUsize>,
    /// Make N continuations, print the one whose tokens are likeliest on average
    #[arg(long, value_name = "N", conflicts_with = "candidates", allow_negative_numbers = true)]
    best_of: Option<NonZeroUsize>,
    /// Begin the text with the prompt
    #[arg(long)]
    echo: bool,
    /// Print one JSON object at the end, or an array with --candidates
    #[arg(long)]
    json: bool,
    /// Print the text at the end, not as it grows
    #[arg(long)]
    no_stream: bool,
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
    #[command(flatten)]
    grammar: GrammarArgs,
}

/// Generates and prints.
///
/// # Errors
/// If the prompt or the model cannot be read, an option is impossible, a step fails, or Ctrl-C ended it.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let mut options = args.end.options(&args.sampling, &args.grammar)?;
    options.echo = args.echo;
    options.validate()?;
    let text = args.prompt.read()?;
    let interrupt = Interrupt::install()?;
    let started = Instant::now();
    let engine =
        args.engine.start(args.n_candidates(), &args.preset, (&args.speculation, &args.kv_disk), console)?;
    let load_time = started.elapsed();
    let prompt = args.prompt(&engine, text)?;
    let mut printer = Printer::new(args.candidates, console);
    let (n, select) = (args.n_candidates(), args.select());
    let stream = engine.stream(Request::new(prompt, options).n(n).select(select))?;
    let cancel = stream.cancel_token();
    interrupt.begin(move || cancel.cancel());
    let completions = args.print(stream, &mut printer)?;
    interrupt.end();
    if args.json {
        let reports: Vec<_> = completions.iter().map(|each| Report::new(each, load_time)).collect();
        match (args.candidates, &reports[..]) {
            (None, [report]) => console.json(report)?,
            _ => console.json(&reports)?,
        }
    }
    console.note(format_args!("{}", summary(&completions, load_time)));
    args.kv_disk.report(&engine, console);
    let is_cancelled = completions.iter().any(|each| each.finish_reason == FinishReason::Cancelled);
    if is_cancelled { Err(Failure::Interrupted) } else { Ok(()) }
}

impl Args {
    fn n_candidates(&self) -> usize {
        self.candidates.or(self.best_of).map_or(1, NonZeroUsize::get)
    }

    fn select(&self) -> Select {
        if self.best_of.is_some() { Select::Best } else { Select::All }
    }

    /// The text as it is, or as the question of a conversation.
    fn prompt(&self, engine: &Engine, text: String) -> Result<Prompt, Failure> {
        if !self.chat {
            return Ok(Prompt::Text(text));
        }
        let system = self.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &text)]).collect();
        Ok(Prompt::Chat(chat_template(engine)?.render(&ChatRequest::new(&messages))?))
    }

    /// Prints the texts as they grow, or at the end.
    fn print(&self, mut stream: TokenStream, printer: &mut Printer<'_>) -> Result<Vec<Completion>, Failure> {
        // Which one is the best is known at the end.
        let shows_pieces = !self.json && !self.no_stream && self.best_of.is_none();
        if !self.json {
            printer.begin()?;
        }
        while let Some(event) = stream.next_blocking() {
            let event = event?;
            if shows_pieces {
                printer.push(&event)?;
            }
        }
        let completions = stream.finish()?;
        if !self.json {
            if !shows_pieces {
                printer.push_all(&completions)?;
            }
            printer.end()?;
        }
        Ok(completions)
    }
}
