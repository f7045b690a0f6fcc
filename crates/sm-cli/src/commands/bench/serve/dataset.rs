//! The requests of a run, made before it starts.

mod conversations;
mod lines;
mod text;
mod trace;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::options::{Args, DatasetArgs, DatasetName};
use crate::failure::Failure;
use text::TextMaker;

/// A request to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) prompt: String,
    /// Tokens to ask for.
    pub(super) n_output: usize,
    /// When it is due, if the dataset says so.
    pub(super) at: Option<Duration>,
}

/// All requests, in the order in which they are sent.
///
/// # Errors
/// If the tokenizer or the file cannot be read.
pub(super) fn requests(args: &Args) -> Result<Vec<Planned>, Failure> {
    let dataset = &args.dataset;
    let tokenizer = args.loader().tokenizer()?;
    let mut maker = TextMaker::new(tokenizer, StdRng::seed_from_u64(dataset.seed));
    match dataset.dataset_name {
        DatasetName::Random => random(dataset, &mut maker),
        DatasetName::PrefixRepetition => prefix_repetition(dataset, &mut maker),
        DatasetName::Sharegpt => conversations::read(dataset, &mut maker),
        DatasetName::Custom => lines::read(dataset),
        DatasetName::Trace => trace::read(dataset, &mut maker),
    }
}

fn random(args: &DatasetArgs, maker: &mut TextMaker) -> Result<Vec<Planned>, Failure> {
    let prefix = maker.text(args.random_prefix_len)?;
    let around = |rng: &mut StdRng, len: usize| {
        let off = (len as f64 * args.random_range_ratio) as usize;
        rng.random_range(len - off..=len + off).max(1)
    };
    let one = |_| {
        let n_input = around(maker.rng(), args.random_input_len);
        let n_output = around(maker.rng(), args.random_output_len);
        let prompt = format!("{prefix}{}", maker.text(n_input)?);
        Ok(Planned { prompt, n_output, at: None })
    };
    (0..args.num_prompts).map(one).collect()
}

fn prefix_repetition(args: &DatasetArgs, maker: &mut TextMaker) -> Result<Vec<Planned>, Failure> {
    let n_prefixes = args.prefix_repetition_num_prefixes.clamp(1, args.num_prompts);
    let prefixes: Vec<String> =
        (0..n_prefixes).map(|_| maker.text(args.prefix_repetition_prefix_len)).collect::<Result<_, _>>()?;
    let one = |index: usize| {
        let suffix = maker.text(args.prefix_repetition_suffix_len)?;
        let prompt = format!("{}{suffix}", prefixes[index % n_prefixes]);
        Ok(Planned { prompt, n_output: args.prefix_repetition_output_len, at: None })
    };
    let mut requests: Vec<Planned> = (0..args.num_prompts).map(one).collect::<Result<_, Failure>>()?;
    requests.shuffle(maker.rng());
    Ok(requests)
}

/// As many requests as wanted: the first ones, or all of them over and over.
fn repeated(requests: &[Planned], n: usize) -> Vec<Planned> {
    requests.iter().cycle().take(n).cloned().collect()
}

/// The content of the dataset's file.
fn content(args: &DatasetArgs) -> Result<String, Failure> {
    let Some(path) = &args.dataset_path else {
        let message = "this dataset is a file; say which".to_owned();
        return Err(Failure::Option { flag: "--dataset-path", message });
    };
    std::fs::read_to_string(path).map_err(Failure::file("read", path))
}

/// The file is not what it should be.
fn malformed(args: &DatasetArgs, message: impl std::fmt::Display) -> Failure {
    let path = args.dataset_path.clone().unwrap_or_default();
    Failure::Dataset { path, message: message.to_string() }
}
