//! `sm batch`: answers the requests in a file.

mod answer;
mod answers;
mod builder;
mod fields;
mod in_flight;
mod lines;
mod openai;
mod recipient;
mod refusal;
mod request;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use sm_runtime::{CancelToken, GenerationOptions};

use crate::args::{EndArgs, EngineArgs, GrammarArgs, SamplingArgs, number};
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Unit};
use crate::shown::shown;
use answer::Answer;
use answers::{Answers, Destination};
use in_flight::InFlight;
use lines::Lines;

/// Answer the requests in a file, many at a time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm batch questions.jsonl answers.jsonl -n 200 --seed 1
  sm batch questions.jsonl answers.jsonl --resume
  sm batch -m ./Qwen3-0.6B --parallel 16 - - < questions.jsonl > answers.jsonl

Each line of IN is an object with `prompt`, a text or token ids to continue, or `messages`, a chat to answer:
  {\"id\": \"a\", \"prompt\": \"Once upon a time\", \"n_tokens\": 50}
  {\"id\": \"b\", \"messages\": [{\"role\": \"user\", \"content\": \"What is 17 + 25?\"}], \"temp\": 0}

`id` defaults to the line number. Other fields override the options of the command line: n_tokens (or max_tokens),
temp (or temperature), top_k, top_p, min_p, repeat_penalty (or repetition_penalty), presence_penalty,
frequency_penalty, seed, stop, ignore_eos, n, json_schema (the schema itself), json_object, response_format, regex,
grammar (its text), echo, max_time_ms, allowed_tokens, bad_words, logit_bias, tools, chat_template_kwargs, logprobs and
prompt_logprobs (numbers of alternatives); docs/cli.md lists those of every other sampler and limit.
With --seed S, line 1 has seed S, line 2 has S + 1, and so on.

OUT gets one line per request, in the same order: {\"id\", \"text\", \"tokens\", \"finish_reason\", \"usage\",
\"seed\"}, or {\"id\", \"error\"} if the request is invalid or fails. Such requests fail the command only with
--fail-on-error. Lines of OpenAI's batch files (custom_id, method, url, body) get answers in OpenAI's form.
Ctrl-C keeps the answers written; --resume continues after them.")]
pub(crate) struct Args {
    /// Requests, one JSON object per line; `-` is stdin
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Answers; `-` is stdout
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Keep the answers in OUT and continue with the requests after them
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Overwrite OUT
    #[arg(long)]
    force: bool,
    /// Exit with 1 if a request is invalid or fails; all others are answered first
    #[arg(long)]
    fail_on_error: bool,
    /// Requests to run at a time [default: 8, or the preset's]
    #[arg(long, value_name = "N", value_parser = number::at_least_one, allow_negative_numbers = true)]
    parallel: Option<NonZeroUsize>,
    #[command(flatten)]
    end: EndArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    grammar: GrammarArgs,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be used, the model cannot be loaded, an option is invalid, or Ctrl-C was pressed.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let mut options = args.end.options(&args.sampling, &args.grammar)?;
    options.validate()?;
    let mut lines = Lines::open(&args.input)?;
    let destination = Destination::find(args, &mut lines)?;
    let interrupt = Interrupt::install()?;
    let parallel = args.parallel.map_or_else(|| args.engine.default_parallel(), NonZeroUsize::get);
    let engine = args.engine.start(parallel, console)?;
    let recommended = engine.model().sampling_defaults();
    options.sampling = args.sampling.options(recommended)?;
    let answers = Answers::open(&destination, &args.output, console)?;
    let stop = CancelToken::new();
    interrupt.begin({
        let stop = stop.clone();
        let main = thread::current();
        move || {
            stop.cancel();
            main.unpark();
        }
    });
    let bar = Progress::new(console, "answering", Unit::Bytes);
    let mut run = Run { lines, answers, tally: Tally::new(&destination), bar };
    let ended = run.answer_all(InFlight::new(&engine, parallel), &options, &stop);
    drop(run.bar);
    run.tally.note_cut_forms(console);
    console.note(format_args!("{}", run.tally.summary() + &args.sampling.recommended(recommended)));
    args.engine.kv_disk.report(&engine, console);
    if matches!(ended, Err(Failure::Interrupted)) && !is_stream(&args.output) {
        console.note(format_args!("use --resume to continue {}", shown(&args.output)));
    }
    match run.tally.n_failed {
        n_failed if n_failed > 0 && args.fail_on_error => ended.and(Err(Failure::Requests { n_failed })),
        _ => ended,
    }
}

/// Whether a path means stdin or stdout.
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
    /// Sends requests while there is room, and writes answers in order.
    fn answer_all(
        &mut self,
        mut in_flight: InFlight<'_>,
        options: &GenerationOptions,
        stop: &CancelToken,
    ) -> Result<(), Failure> {
        loop {
            while in_flight.has_room()
                && let Some(line) = self.lines.next_if_there()?
            {
                in_flight.send(&line, options)?;
            }
            let is_changed = in_flight.collect()?;
            while let Some(answer) = in_flight.next_answer() {
                self.answers.write(&answer)?;
                self.tally.count(&answer);
                self.show(&answer);
            }
            if stop.is_cancelled() {
                return Err(Failure::Interrupted);
            }
            if in_flight.is_empty() && self.lines.are_over() {
                return Ok(());
            }
            if !is_changed {
                // Unparked by a new line, a token or Ctrl-C.
                thread::park();
            }
        }
    }

    fn show(&self, answer: &Answer) {
        let Tally { n_answers, .. } = self.tally;
        self.bar.set_message(format!("{n_answers} answered, {:.1} tok/s", self.tally.rate()));
        match self.lines.total_bytes() {
            Some(total_bytes) => self.bar.set(answer.line_end, total_bytes),
            None => self.bar.set_open(answer.line_end),
        }
    }
}

/// Counts of a run.
struct Tally {
    n_kept: u64,
    n_answers: u64,
    n_failed: u64,
    /// Outputs that a limit cut before their form was complete.
    n_cut_forms: u64,
    n_tokens: usize,
    began: Instant,
}

impl Tally {
    fn new(destination: &Destination) -> Self {
        Self {
            n_kept: destination.n_kept(),
            n_answers: 0,
            n_failed: 0,
            n_cut_forms: 0,
            n_tokens: 0,
            began: Instant::now(),
        }
    }

    fn count(&mut self, answer: &Answer) {
        self.n_answers += 1;
        self.n_failed += u64::from(answer.is_failed);
        self.n_cut_forms += u64::from(answer.is_cut_form);
        self.n_tokens += answer.n_tokens;
    }

    fn rate(&self) -> f64 {
        self.n_tokens as f64 / self.began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Says so if outputs lack the end of their form.
    fn note_cut_forms(&self, console: &Console) {
        if self.n_cut_forms > 0 {
            let n_cut_forms = self.n_cut_forms;
            console.note(format_args!(
                "{n_cut_forms} outputs were cut before their form was complete; raise n_tokens or -n"
            ));
        }
    }

    fn summary(&self) -> String {
        let Self { n_kept, n_answers, n_failed, n_tokens, .. } = self;
        let kept = if *n_kept > 0 { format!("kept {n_kept} | ") } else { String::new() };
        format!("{kept}{n_answers} requests, {n_failed} failed | {n_tokens} tokens, {:.1} tok/s", self.rate())
    }
}

impl Args {
    /// Whether input and output are the same file, which would be read while being written.
    fn is_same_file(&self) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        real(&self.input).is_some_and(|input| real(&self.output) == Some(input))
    }
}
