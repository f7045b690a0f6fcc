//! `sm generate`: continues a prompt.

use std::time::{Duration, Instant};

use serde::Serialize;
use sm_runtime::model::chat::{ChatRequest, Message};
use sm_runtime::{
    Completion, EosRule, FinishReason, Generation, GenerationOptions, Generator, Limits, Prompt, StopRules,
};

use crate::args::{EngineArgs, SamplingArgs, chat_template};
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
  echo \"def fib(n):\" | sm generate -m model.gguf --stop \"def \"

The text goes to standard output and nothing else; timings go to standard error.
Ctrl-C ends the generation with what is there; the exit code is 130 then.")]
pub(crate) struct Args {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Generate at most N tokens
    #[arg(short, long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    n_tokens: usize,
    /// End where the text S appears, without it; may be repeated
    #[arg(long, value_name = "S")]
    stop: Vec<String>,
    /// Go on beyond the model's end-of-sequence token
    #[arg(long)]
    ignore_eos: bool,
    /// Put the prompt into the model's chat template
    #[arg(long)]
    chat: bool,
    /// The system message of the chat template
    #[arg(long, value_name = "S", requires = "chat")]
    system: Option<String>,
    /// Print the prompt before its continuation
    #[arg(long, conflicts_with = "json")]
    echo: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    /// Print the text at the end, not as it grows
    #[arg(long)]
    no_stream: bool,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Generates and prints.
///
/// # Errors
/// If the prompt or the model cannot be read, an option is impossible, a step fails, or Ctrl-C ended it.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let options = args.options();
    options.validate()?;
    let text = args.prompt.read()?;
    let interrupt = Interrupt::install()?;
    let started = Instant::now();
    let mut generator = Generator::new(args.engine.model.load(&args.engine.options(), console)?);
    let load_time = started.elapsed();
    let prompt = args.prompt(&generator, text)?;
    if let (true, Prompt::Text(text) | Prompt::Chat(text)) = (args.echo, &prompt) {
        console.piece(text)?;
    }
    let stream = generator.stream(&prompt, &options, &interrupt.begin())?;
    let completion = args.print(stream, console)?;
    interrupt.end();
    if args.json {
        console.json(&Report::new(&completion, load_time))?;
    } else if console.is_terminal() {
        console.piece("\n")?;
    }
    console.note(format_args!("{}", summary(&completion, load_time)));
    if completion.finish_reason == FinishReason::Cancelled { Err(Failure::Interrupted) } else { Ok(()) }
}

impl Args {
    fn options(&self) -> GenerationOptions {
        let eos = if self.ignore_eos { EosRule::Ignore } else { EosRule::Stop };
        GenerationOptions {
            sampling: self.sampling.options(),
            limits: Limits { max_new_tokens: self.n_tokens, ..Limits::default() },
            stop: StopRules { sequences: self.stop.clone(), eos, ..StopRules::default() },
            ..GenerationOptions::default()
        }
    }

    /// The text as it is, or as the question of a conversation.
    fn prompt(&self, generator: &Generator, text: String) -> Result<Prompt, Failure> {
        if !self.chat {
            return Ok(Prompt::Text(text));
        }
        let system = self.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &text)]).collect();
        Ok(Prompt::Chat(chat_template(generator)?.render(&ChatRequest::new(&messages))?))
    }

    /// Prints the text as it grows, or at the end.
    fn print(&self, mut stream: Generation<'_>, console: &Console) -> Result<Completion, Failure> {
        let shows_pieces = !self.json && !self.no_stream;
        while let Some(event) = stream.next_event()? {
            if shows_pieces {
                console.piece(&event.text)?;
            }
        }
        let completion = stream.finish();
        if self.no_stream && !self.json {
            console.piece(&completion.text)?;
        }
        Ok(completion)
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    text: &'a str,
    tokens: Vec<u32>,
    prompt_tokens: usize,
    finish_reason: &'static str,
    seed: u64,
    timings: Timings,
}

/// Times and rates of [`Report`].
#[derive(Debug, Serialize)]
struct Timings {
    load_ms: f64,
    prompt_ms: f64,
    prompt_tokens_per_second: f64,
    generation_ms: f64,
    generation_tokens_per_second: f64,
    first_token_ms: f64,
    total_ms: f64,
}

impl<'a> Report<'a> {
    fn new(completion: &'a Completion, load_time: Duration) -> Self {
        let Completion { text, tokens, finish_reason, seed, usage, timings, .. } = completion;
        Self {
            text,
            tokens: tokens.iter().map(|token| token.0).collect(),
            prompt_tokens: usage.prompt_tokens,
            finish_reason: finish_reason.name(),
            seed: *seed,
            timings: Timings {
                load_ms: milliseconds(load_time),
                prompt_ms: milliseconds(timings.prefill),
                prompt_tokens_per_second: timings.prefill_tokens_per_second(usage),
                generation_ms: milliseconds(timings.decode),
                generation_tokens_per_second: timings.decode_tokens_per_second(usage),
                first_token_ms: milliseconds(timings.first_token),
                total_ms: milliseconds(timings.total),
            },
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The line on standard error.
fn summary(completion: &Completion, load_time: Duration) -> String {
    let Completion { finish_reason, seed, usage, timings, .. } = completion;
    format!(
        "load {:.2} s | prompt {} tokens, {:.1} tok/s | generated {} tokens, {:.1} tok/s | seed {seed} | {finish_reason}",
        load_time.as_secs_f64(),
        usage.prompt_tokens,
        timings.prefill_tokens_per_second(usage),
        usage.generated_tokens,
        timings.decode_tokens_per_second(usage),
    )
}
