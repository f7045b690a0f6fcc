//! The experiments of `SmallMind`'s original documents, next to their claims.
//!
//! Compared cases are interleaved in one process, after one uncounted warm-up each; results are medians. An experiment is
//! one file here and one row of the table in `bin/experiments.rs`.

pub mod batching;
pub mod busy;
pub mod concurrency;
pub mod first_request;
pub mod first_token;
pub mod kv_cache;
pub mod latency;
pub mod memory;
pub mod overhead;
pub mod sessions;
pub mod speculation;
pub mod streaming;
pub mod threads;
pub mod waiting;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sm_model::Mixture;
use sm_model::tokenizer::TokenizerError;
use sm_runtime::{EosRule, GenerationOptions, Prompt, StopRules, TokenId};
use sm_tensor::DType;

use crate::process::Used;
use crate::replay::mix;
use crate::summary::median;
use crate::synth::{self, Shape, SynthError};

/// Why an experiment failed.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The engine failed.
    #[error(transparent)]
    Runtime(#[from] sm_runtime::Error),
    /// A model could not be written.
    #[error(transparent)]
    Synth(#[from] SynthError),
    /// A vocabulary could not be built.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A conversation could not be rendered.
    #[error("the demo model cannot chat: {reason}")]
    Chat {
        /// The reason.
        reason: String,
    },
    /// An engine in a process of its own failed.
    #[error("{what}: {reason}")]
    Engine {
        /// Which.
        what: String,
        /// Its error.
        reason: String,
    },
    /// Two runs that must give the same tokens did not.
    #[error("{what}: the tokens differ, so the times mean nothing")]
    Different {
        /// What was compared.
        what: String,
    },
}

/// A result and the corresponding claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What was measured.
    pub what: String,
    /// The result.
    pub measured: String,
    /// The documents' claim, or the target.
    pub claim: String,
    /// The ratios that must be reached.
    pub goals: Vec<Goal>,
}

/// A ratio of two times or sizes of one run, and its bound. Times themselves are no goals: they depend on the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// The ratio.
    pub ratio: f64,
    /// What it must be.
    pub bound: Bound,
}

/// A bound of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// It is at least this.
    AtLeast(f64),
    /// It is at most this.
    AtMost(f64),
}

impl Goal {
    /// How far a ratio may be beyond its bound, for medians of a few turns on a machine with other work.
    const MARGIN: f64 = 0.1;

    /// Whether the ratio is beyond its bound by more than the margin.
    pub fn is_missed(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.ratio < least * (1.0 - Self::MARGIN),
            Bound::AtMost(most) => self.ratio > most * (1.0 + Self::MARGIN),
        }
    }
}

impl Finding {
    /// A finding without goals.
    pub fn new(what: impl Into<String>, measured: impl Into<String>, claim: impl Into<String>) -> Self {
        Self { what: what.into(), measured: measured.into(), claim: claim.into(), goals: Vec::new() }
    }

    /// Adds a goal.
    #[must_use]
    pub fn goal(mut self, ratio: f64, bound: Bound) -> Self {
        self.goals.push(Goal { ratio, bound });
        self
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ratio, bound } = self;
        let (sign, bound) = match bound {
            Bound::AtLeast(least) => ("≥", least),
            Bound::AtMost(most) => ("≤", most),
        };
        let outcome = if self.is_missed() { "missed" } else { "reached" };
        write!(f, "{ratio:.2} {sign} {bound:.2}, {outcome}")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, measured, claim, goals } = self;
        write!(f, "{what}\n  measured  {measured}\n  claimed   {claim}")?;
        goals.iter().try_for_each(|goal| write!(f, "\n  goal      {goal}"))
    }
}

/// The model of the documents' KV cache experiment: 4 layers, 128 wide; they specify no more.
pub const DOCUMENTS: Shape = Shape {
    name: "documents",
    architecture: "llama",
    hidden_size: 128,
    n_layers: 4,
    n_heads: 4,
    n_kv_heads: 4,
    ffn_size: 512,
    vocab_size: 512,
    is_tied: false,
    context_len: 2048,
    rope_base: 10_000.0,
    has_llama3_scaling: false,
};

/// A temporary file of random weights, removed on drop.
#[derive(Debug)]
pub struct RandomModel(PathBuf);

impl RandomModel {
    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(shape: &Shape, dtype: DType) -> Result<Self, SynthError> {
        let name = format!("sm-{}-{}-{}.gguf", shape.name, dtype.name(), std::process::id());
        let model = Self(std::env::temp_dir().join(name));
        synth::write(&model.0, shape, Mixture::uniform(dtype), 1)?;
        Ok(model)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for RandomModel {
    fn drop(&mut self) {
        // A failure only wastes disk space.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Turns per requested repetition, for experiments that take milliseconds.
const N_TURNS_PER_REP: usize = 8;

/// The seconds of `N` cases in each turn.
#[derive(Debug)]
pub(crate) struct Turns<const N: usize>([Vec<f64>; N]);

impl<const N: usize> Turns<N> {
    /// Runs each case once to warm up, then all cases `reps` times, interleaved.
    pub(crate) fn run(
        reps: usize,
        mut cases: [&mut dyn FnMut() -> Result<(), ExperimentError>; N],
    ) -> Result<Self, ExperimentError> {
        for case in &mut cases {
            case()?;
        }
        let mut seconds: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(reps));
        for _ in 0..reps {
            for (case, seconds) in cases.iter_mut().zip(&mut seconds) {
                let start = Instant::now();
                case()?;
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(Self(seconds))
    }

    /// The median of a case.
    pub(crate) fn seconds(&self, case: usize) -> f64 {
        median(self.0[case].clone())
    }

    /// Speed-up of a case over `over`: the median over the turns, so that a machine whose speed drifts favours neither.
    pub(crate) fn speed_up(&self, case: usize, over: usize) -> f64 {
        let turns = self.0[case].iter().zip(&self.0[over]);
        median(turns.map(|(seconds, over)| over / seconds).collect())
    }
}

/// How long to repeat a case to measure its CPU time, which the system counts in hundredths of a second.
const CPU_TIME_SECONDS: f64 = 1.0;

/// CPU time per token of a case that generates `n_tokens`, as text: milliseconds of all threads, including spinning ones.
pub(crate) fn cpu_per_token(
    n_tokens: usize,
    mut case: impl FnMut() -> Result<(), ExperimentError>,
) -> Result<String, ExperimentError> {
    let start = Instant::now();
    let before = Used::now();
    let mut n_runs = 0;
    while n_runs == 0 || start.elapsed().as_secs_f64() < CPU_TIME_SECONDS {
        case()?;
        n_runs += 1;
    }
    let seconds = before.zip(Used::now()).map(|(before, after)| after.cpu_seconds - before.cpu_seconds);
    Ok(match seconds {
        Some(seconds) => format!("{:.3} ms", seconds * 1e3 / (n_runs * n_tokens) as f64),
        None => "unknown".to_owned(),
    })
}

/// Waits until idle threads sleep, so that a single request finds the machine as in practice, not warm from the previous
/// one.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// A prompt of `n_tokens` tokens, different for each number.
pub(crate) fn prompt(number: usize, n_tokens: usize, vocab_size: usize) -> Vec<TokenId> {
    let token = |index: usize| TokenId((mix(mix(number as u64) ^ index as u64) % vocab_size as u64) as u32);
    (0..n_tokens).map(token).collect()
}

/// Exactly `n_tokens` tokens, decoded greedily.
pub(crate) fn greedy(n_tokens: usize) -> GenerationOptions {
    GenerationOptions::greedy().max_new_tokens(n_tokens).stop(StopRules::new().eos(EosRule::Ignore))
}

/// A prompt of tokens.
pub(crate) fn tokens(tokens: &[TokenId]) -> Prompt {
    Prompt::Tokens(tokens.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_missed_beyond_a_margin() {
        let missed = |ratio, bound| Goal { ratio, bound }.is_missed();
        assert!(!missed(0.82, Bound::AtLeast(0.9)) && missed(0.80, Bound::AtLeast(0.9)));
        assert!(!missed(1.15, Bound::AtMost(1.05)) && missed(1.16, Bound::AtMost(1.05)));
        let finding = Finding::new("a", "b", "c").goal(2.0, Bound::AtLeast(2.5));
        assert_eq!(finding.to_string(), "a\n  measured  b\n  claimed   c\n  goal      2.00 ≥ 2.50, missed");
    }

    #[test]
    fn cases_take_turns_after_a_warm_up() {
        let log = std::cell::RefCell::new(String::new());
        let case = |name: char| {
            let log = &log;
            move || {
                log.borrow_mut().push(name);
                Ok(())
            }
        };
        let turns = Turns::run(3, [&mut case('a'), &mut case('b')]).unwrap();
        assert_eq!(log.into_inner(), "abababab");
        assert_eq!(turns.0.map(|seconds| seconds.len()), [3, 3]);
    }

    #[test]
    fn a_slow_turn_is_slow_for_all() {
        let turns = Turns([vec![1.0, 9.0, 1.2], vec![2.0, 18.0, 2.4]]);
        assert_eq!((turns.seconds(0), turns.speed_up(0, 1), turns.speed_up(1, 0)), (1.2, 2.0, 0.5));
    }
}
