//! `sm generate`: continues a prompt.

mod printer;
mod report;

use std::num::NonZeroUsize;
use std::time::Instant;

use sm_runtime::model::chat::Message;
use sm_runtime::model::tokenizer::EncodeOptions;
use sm_runtime::{Completion, Engine, FinishReason, Prompt, Request, Select, TokenStream};
use sm_server::chat::AnswerStart;
use sm_server::chat::reasoning::Splitter;

use crate::args::{ChatArgs, ChatSetup, EndArgs, EngineArgs, GrammarArgs, SamplingArgs, is_cut, number};
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::prompt::PromptArgs;
use printer::Printer;
use report::{Report, summary};

/// Continue a prompt
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm generate -m model.gguf \"Once upon a time\"
  sm generate -m ./Qwen3-0.6B --chat \"Why is the sky blue?\" -n 200
  sm generate -m model.gguf -f prompt.txt --temp 0 --json
  sm generate -m model.gguf \"The best name for a cat is\" -n 5 --choices 8
  sm generate --chat \"What is 17 + 25?\" --temp 0 --draft demo-draft
  sm generate -m ./Qwen3-0.6B --chat \"Describe a cat.\" --json-schema animal.json
  sm generate -m letters.smnd --char-tokenizer \" abcdefghijklmnopqrstuvwxyz\" \"once\"
  echo \"def fib(n):\" | sm generate -m model.gguf --stop \"def \"

Only the text is written to stdout; timings are written to stderr.
Ctrl-C stops generating and keeps the text so far; the exit code is 130.")]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    end: EndArgs,
    /// Apply the model's chat template to the prompt
    #[arg(long)]
    chat: bool,
    /// Print N outputs, each below a line with its number; the prompt is computed once
    #[arg(long, alias = "candidates", value_name = "N", value_parser = number::at_least_one, allow_negative_numbers = true)]
    choices: Option<NonZeroUsize>,
    /// Generate N outputs and print the one with the highest mean log-probability per token
    #[arg(long, value_name = "N", conflicts_with = "choices", value_parser = number::at_least_one, allow_negative_numbers = true)]
    best_of: Option<NonZeroUsize>,
    /// Print the prompt before the output
    #[arg(long)]
    echo: bool,
    /// Print one JSON object at the end, or an array with --choices
    #[arg(long)]
    json: bool,
    /// Return the log-probabilities of each token and of the N most likely ones in its place, with --json
    #[arg(long, value_name = "N", requires = "json", value_parser = number::count, hide_short_help = true)]
    logprobs: Option<usize>,
    /// Return the same for each token of the prompt after the first
    #[arg(long, value_name = "N", requires = "json", value_parser = number::count, hide_short_help = true)]
    prompt_logprobs: Option<usize>,
    /// Print the text at the end instead of as it is generated
    #[arg(long)]
    no_stream: bool,
    #[command(flatten)]
    templating: ChatArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    grammar: GrammarArgs,
}

/// Generates and prints.
///
/// # Errors
/// If the prompt or the model cannot be read, an option is invalid, a step fails, or Ctrl-C was pressed.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let mut options = args.end.options(&args.sampling, &args.grammar)?;
    (options.echo, options.logprobs, options.prompt_logprobs) =
        (args.echo, args.logprobs, args.prompt_logprobs);
    options.validate()?;
    let setup = args.setup()?;
    let template = args.templating.template()?;
    let text = args.prompt.read(console)?;
    let interrupt = Interrupt::install()?;
    let started = Instant::now();
    let engine = args.engine.start_with_template(args.n_choices(), template, console)?;
    let load_time = started.elapsed();
    let recommended = engine.model().sampling_defaults();
    options.sampling = args.sampling.options(recommended)?;
    args.note_bos(&text, &engine, console);
    let (prompt, splitter) = args.prompt(text, &setup, &engine);
    let has_form = options.grammar.is_some();
    let request = Request::new(prompt, options).n(args.n_choices()).select(args.select());
    let stream = engine.stream(request)?;
    let cancel = stream.cancel_token();
    interrupt.begin(move || cancel.cancel());
    let completions = args.print(stream, &mut Printer::new(args.choices, splitter.clone(), console))?;
    interrupt.end();
    if args.json {
        let report = |each| Report::new(each, &splitter, load_time);
        let reports: Vec<_> = completions.iter().map(report).collect();
        match (args.choices, &reports[..]) {
            (None, [report]) => console.json(report)?,
            _ => console.json(&reports)?,
        }
    }
    console
        .note(format_args!("{}", summary(&completions, load_time) + &args.sampling.recommended(recommended)));
    if has_form && completions.iter().any(is_cut) {
        console.note(format_args!("the output was cut before its form was complete; raise -n"));
    }
    args.engine.kv_disk.report(&engine, console);
    let is_cancelled = completions.iter().any(|each| each.finish_reason == FinishReason::Cancelled);
    if is_cancelled { Err(Failure::Interrupted) } else { Ok(()) }
}

impl Args {
    fn n_choices(&self) -> usize {
        self.choices.or(self.best_of).map_or(1, NonZeroUsize::get)
    }

    fn select(&self) -> Select {
        if self.best_of.is_some() { Select::Best } else { Select::All }
    }

    /// Says so if the prompt begins with the token that the tokenizer puts there.
    fn note_bos(&self, text: &str, engine: &Engine, console: &Console) {
        let Some(tokenizer) = engine.model().tokenizer().filter(|_| !self.chat) else { return };
        let bos = tokenizer.vocabulary().text_of(tokenizer.vocabulary().bos());
        let adds_bos = tokenizer
            .encode("", EncodeOptions::PROMPT)
            .is_ok_and(|ids| ids.first().copied() == tokenizer.vocabulary().bos());
        if !bos.is_empty() && adds_bos && text.starts_with(&bos) {
            console.note(format_args!(
                "the prompt begins with {bos}, which the model adds itself; it is used once"
            ));
        }
    }

    /// What the chat template gets.
    fn setup(&self) -> Result<ChatSetup, Failure> {
        match self.templating.given() {
            Some(option) if !self.chat => {
                Err(Failure::Usage(format!("{option} is for a chat template; add --chat, or leave it out")))
            }
            _ => self.templating.setup(),
        }
    }

    /// The text as it is, or as the question of a chat; and what tells the parts of the output apart.
    fn prompt(&self, text: String, setup: &ChatSetup, engine: &Engine) -> (Prompt, Splitter) {
        if !self.chat {
            return (Prompt::Text(text), Splitter::of_plain_text());
        }
        let system = self.templating.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &text)]).collect();
        let rendered = engine.chat_template().ok().and_then(|template| setup.rendered(template, &messages));
        // With --echo, the text begins with the prompt.
        let splitter = match self.echo {
            true => Splitter::of_plain_text(),
            false => Splitter::after(rendered.as_deref().map(AnswerStart::after_prompt).unwrap_or_default()),
        };
        (setup.request(messages).into(), splitter)
    }

    /// Prints outputs as they are generated, or at the end.
    fn print(&self, mut stream: TokenStream, printer: &mut Printer<'_>) -> Result<Vec<Completion>, Failure> {
        // The best output is only known at the end.
        let prints_pieces = !self.json && !self.no_stream && self.best_of.is_none();
        if !self.json {
            printer.begin()?;
        }
        while let Some(event) = stream.next_blocking() {
            let event = event?;
            if prints_pieces {
                printer.push(&event)?;
            }
        }
        let completions = stream.finish()?;
        if !self.json {
            if !prints_pieces {
                printer.push_all(&completions)?;
            }
            printer.end()?;
        }
        Ok(completions)
    }
}
