//! `sm batch`: answers the requests of a file.

mod answers;
mod fields;
mod flight;
mod lines;
mod request;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use sm_runtime::{CancelToken, GenerationOptions};

use crate::args::{EndArgs, EngineArgs, GrammarArgs, KvDiskArgs, PresetArgs, SamplingArgs, SpeculationArgs};
use crate::commands::batch::answers::{Answer, Answers, Place};
use crate::commands::batch::flight::Flight;
use crate::commands::batch::lines::Lines;
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Unit};

/// Answer the requests of a file, many at a time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm batch questions.jsonl answers.jsonl -n 200 --seed 1
  sm batch questions.jsonl answers.jsonl --resume
  sm batch -m ./Qwen3-0.6B --parallel 16 - - < questions.jsonl > answers.jsonl

A line of IN is an object with `prompt`, a text to continue, or `messages`, a conversation to answer:
  {\"id\": \"a\", \"prompt\": \"Once upon a time\", \"n_tokens\": 50}
  {\"id\": \"b\", \"messages\": [{\"role\": \"user\", \"content\": \"What is 17 + 25?\"}], \"temp\": 0}

Without `id` it is the line's number. The options are those of the command line, which hold for lines that
do not have them: n_tokens (or max_tokens), temp (or temperature), top_k, top_p, min_p, repeat_penalty (or
repetition_penalty), presence_penalty, frequency_penalty, seed, stop, ignore_eos, json_schema (the schema
itself), json_object, regex, grammar (its text); and echo, max_time_ms, allowed_tokens, bad_words, logprobs and
prompt_logprobs, numbers of alternatives. With --seed S, line 1 has seed S, line 2 has S + 1, and so on.

OUT gets one line for each, in the same order: {\"id\", \"text\", \"tokens\", \"finish_reason\", \"usage\",
\"seed\"}, or {\"id\", \"error\"} where a line is wrong or cannot be answered. Such lines are no failure
of the command. Ctrl-C keeps what is written; --resume goes on behind it.")]
pub(crate) struct Args {
    /// The requests, one JSON object a line; `-` reads standard input
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The answers; `-` writes to standard output
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Keep the answers that OUT has, and go on with the requests behind them
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,
    /// Requests that are computed at a time [default: 8, or what the preset says]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    parallel: Option<NonZeroUsize>,
    #[command(flatten)]
    end: EndArgs,
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

/// Answers line after line.
///
/// # Errors
/// If a file cannot be used, the model cannot be loaded, an option is impossible, or Ctrl-C ended it.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let options = args.end.options(&args.sampling, &args.grammar)?;
    options.validate()?;
    let mut lines = Lines::open(&args.input)?;
    let place = Place::find(args, &mut lines)?;
    let interrupt = Interrupt::install()?;
    let parallel = args.preset.n_sequences(args.parallel);
    let engine = args.engine.start(parallel, &args.preset, (&args.speculation, &args.kv_disk), console)?;
    let answers = Answers::open(&place, &args.output, console)?;
    let stop = CancelToken::new();
    interrupt.begin({
        let (stop, main) = (stop.clone(), thread::current());
        move || {
            stop.cancel();
            main.unpark();
        }
    });
    let bar = Progress::new(console, "answering", Unit::Bytes);
    let mut run = Run { lines, answers, tally: Tally::new(&place), bar };
    let ended = run.answer_all(Flight::new(&engine, parallel), &options, &stop);
    drop(run.bar);
    console.note(format_args!("{}", run.tally.summary()));
    args.kv_disk.report(&engine, console);
    if matches!(ended, Err(Failure::Interrupted)) && !is_stream(&args.output) {
        console.note(format_args!("--resume goes on behind {}", args.output.display()));
    }
    ended
}

/// Whether a path stands for standard input or output.
fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// A run from the first line to the last answer.
struct Run<'a> {
    lines: Lines,
    answers: Answers<'a>,
    tally: Tally,
    bar: Progress,
}

impl Run<'_> {
    /// Sends requests as there is room, and writes answers as they come.
    fn answer_all(
        &mut self,
        mut flight: Flight<'_>,
        options: &GenerationOptions,
        stop: &CancelToken,
    ) -> Result<(), Failure> {
        loop {
            while flight.has_room()
                && let Some(line) = self.lines.next_if_there()?
            {
                flight.send(&line, options)?;
            }
            let is_changed = flight.land()?;
            while let Some(answer) = flight.next_answer() {
                self.answers.write(&answer)?;
                self.tally.count(&answer);
                self.show(&answer);
            }
            if stop.is_cancelled() {
                return Err(Failure::Interrupted);
            }
            if flight.is_empty() && self.lines.are_over() {
                return Ok(());
            }
            if !is_changed {
                // Woken by a line that was read, by a token, and by Ctrl-C.
                thread::park();
            }
        }
    }

    fn show(&self, answer: &Answer) {
        let Tally { n_answers, .. } = self.tally;
        self.bar.say(format!("{n_answers} answered, {:.1} tok/s", self.tally.rate()));
        match self.lines.total_bytes() {
            Some(total_bytes) => self.bar.set(answer.line_end, total_bytes),
            None => self.bar.set_open(answer.line_end),
        }
    }
}

/// What a run has done.
struct Tally {
    n_kept: u64,
    n_answers: u64,
    n_failed: u64,
    n_tokens: usize,
    began: Instant,
}

impl Tally {
    fn new(place: &Place) -> Self {
        Self { n_kept: place.n_kept(), n_answers: 0, n_failed: 0, n_tokens: 0, began: Instant::now() }
    }

    fn count(&mut self, answer: &Answer) {
        self.n_answers += 1;
        self.n_failed += u64::from(answer.is_failed);
        self.n_tokens += answer.n_tokens;
    }

    fn rate(&self) -> f64 {
        self.n_tokens as f64 / self.began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn summary(&self) -> String {
        let Self { n_kept, n_answers, n_failed, n_tokens, .. } = self;
        let kept = if *n_kept > 0 { format!("kept {n_kept} | ") } else { String::new() };
        format!("{kept}{n_answers} requests, {n_failed} failed | {n_tokens} tokens, {:.1} tok/s", self.rate())
    }
}

impl Args {
    /// Whether both files are one, which would be read while it is written.
    fn is_one_file(&self) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        real(&self.input).is_some_and(|input| real(&self.output) == Some(input))
    }
}
