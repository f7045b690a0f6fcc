//! `sm embed`: vectors of texts.

mod texts;
mod vectors;

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use sm_runtime::{EmbedHandle, Pooling};

use crate::args::{LoadArgs, number};
use crate::console::Console;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Unit};
use texts::TextArgs;
use vectors::VectorArgs;

/// Embed texts as vectors
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm embed -m ./Qwen3-Embedding-0.6B --pooling last \"Once upon a time\" \"What is 17 + 25?\"
  sm embed -m model.gguf -f texts.txt > vectors.jsonl
  sm embed -m model.gguf -f texts.txt --dimensions 256 -o f32 > vectors.bin
  sm embed -m model.gguf -f articles.txt --separator '<|endoftext|>'

Each line of a file or of stdin is a text, unless --separator says otherwise. Vectors come in the order of the texts:
  {\"index\": 0, \"tokens\": 5, \"embedding\": [0.0184, …]}
A text has the same vector whatever runs beside it. One that does not fit into the context is an error and never cut.")]
pub(crate) struct Args {
    #[command(flatten)]
    texts: TextArgs,
    /// What becomes of the hidden states of a text: their mean, or the last one, as the model was trained for
    #[arg(long, value_name = "KIND", value_enum, default_value = "mean")]
    pooling: PoolingKind,
    #[command(flatten)]
    vectors: VectorArgs,
    /// Texts that are embedded at a time
    #[arg(long, value_name = "N", default_value = "8", value_parser = number::at_least_one, allow_negative_numbers = true)]
    parallel: NonZeroUsize,
    #[command(flatten)]
    load: LoadArgs,
}

/// How hidden states become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PoolingKind {
    /// The mean over all positions
    Mean,
    /// That of the last position
    Last,
}

impl From<PoolingKind> for Pooling {
    fn from(kind: PoolingKind) -> Self {
        match kind {
            PoolingKind::Mean => Self::Mean,
            PoolingKind::Last => Self::Last,
        }
    }
}

/// Embeds and prints.
///
/// # Errors
/// If the texts or the model cannot be read, a text is empty or too long, or a step fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    args.vectors.check_terminal(console)?;
    let texts = args.texts.read()?;
    // Ends the process: every vector that was printed is whole.
    Interrupt::install()?;
    let parallel = args.parallel.get();
    let engine = args.load.start(parallel, console)?;
    let bar = Progress::new(console, "embedding", Unit::Count("texts"));
    // One more than the engine runs, so that the next is there when one ends.
    let max_waiting = parallel + 1;
    let mut waiting = VecDeque::<EmbedHandle>::with_capacity(max_waiting);
    let mut n_done = 0;
    let mut print = |handle: EmbedHandle| {
        let embedding = handle.wait().map_err(of_text(n_done))?;
        args.vectors.print(n_done, &embedding, console)?;
        n_done += 1;
        bar.set(n_done as u64, texts.len() as u64);
        Ok::<(), Failure>(())
    };
    for (index, text) in texts.iter().enumerate() {
        if waiting.len() == max_waiting
            && let Some(first) = waiting.pop_front()
        {
            print(first)?;
        }
        let handle = engine.embed(text.as_str().into(), args.pooling.into()).map_err(of_text(index))?;
        waiting.push_back(handle);
    }
    waiting.into_iter().try_for_each(print)
}

/// Says which text an error is about, from 1 as lines are counted.
fn of_text(index: usize) -> impl FnOnce(sm_runtime::Error) -> Failure {
    move |source| Failure::Text { number: index + 1, source }
}
