//! Sampling of the next token: a pure function of options, history, logits and (seed, choice, position).
//!
//! The order is fixed:
//!
//! ```text
//! grammar → allowed tokens → bias → repetition, presence, frequency penalties → bad words, minimum length, custom filters
//!     → temperature → top-k → top-p → min-p → draw
//! ```
//!
//! Everything before the temperature modifies logits in place ([`LogitsFilter`]). Then the most likely tokens are gathered
//! as [`Candidate`]s and cut further, and a [`Sampler`] draws one. The temperature preserves the order of logits, so it is
//! applied in double precision only where probabilities are needed, and top-k compares undivided logits. Nothing sorts the
//! vocabulary, and nothing allocates after the first call.
//!
//! ```
//! use sm_runtime::SamplingOptions;
//! use sm_runtime::sampling::{Candidates, Draw, History, SamplerChain};
//!
//! let chain = SamplerChain::new(&SamplingOptions::new().top_k(2));
//! let (mut candidates, mut counts) = (Candidates::new(), Vec::new());
//! let mut draw = |position| {
//!     let mut logits = [0.1, 2.0, -1.0, 1.5];
//!     let draw = Draw { seed: 42, choice: 0, position };
//!     chain.sample(&mut logits, &mut History::new(&[], 0, &mut counts), draw, &mut candidates)
//! };
//! let token = draw(7)?;
//! assert!(token.0 == 1 || token.0 == 3);
//! assert_eq!(draw(7)?, token);
//! # Ok::<(), sm_runtime::Error>(())
//! ```

mod allowed;
mod bad_words;
mod bias;
mod block_maxima;
mod candidates;
mod early_end;
mod greedy;
mod gumbel;
mod history;
mod logprob;
mod min_p;
mod penalties;
mod philox;
mod seed;
mod top_k;
mod top_p;

#[cfg(test)]
mod tests;

use sm_tensor::TokenId;

use crate::grammar::Constraint;
use crate::{Error, SamplingOptions};

pub use allowed::AllowedTokens;
pub use bad_words::BadWords;
pub use bias::LogitBias;
pub use candidates::{Candidate, Candidates};
pub use early_end::EarlyEnd;
pub use greedy::Greedy;
pub use gumbel::{Gumbel, noise};
pub use history::History;
pub use penalties::{OccurrencePenalty, RepetitionPenalty};
pub use philox::philox4x32_10;
pub use seed::random_seed;

pub(crate) use logprob::{Logprobs, MAX_RESERVED_TOPS, RawLogits, log_sum_exp};
pub(crate) use seed::random_token;

/// Modifies logits before candidates are gathered.
///
/// The result must depend on the arguments alone, so that sampling is reproducible.
pub trait LogitsFilter: std::fmt::Debug + Send + Sync {
    /// Modifies `logits`, `[vocab_size]`; `-inf` forbids a token.
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>);
}

impl<F: LogitsFilter + ?Sized> LogitsFilter for std::sync::Arc<F> {
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>) {
        self.as_ref().apply(logits, history);
    }
}

/// Draws one of the candidates.
pub trait Sampler: std::fmt::Debug + Send {
    /// Draws a token from `candidates`, which are unordered and never empty.
    fn sample(&self, candidates: &[Candidate], draw: Draw) -> TokenId;
}

/// Identifies the random numbers of a draw. Equal values give equal numbers, regardless of earlier draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The request's seed.
    pub seed: u64,
    /// Index of the choice, from 0.
    pub choice: u32,
    /// Position of the token in the sequence, prompt included.
    pub position: u32,
}

/// The complete sampling chain of a request.
#[derive(Debug)]
pub struct SamplerChain {
    filters: Vec<Box<dyn LogitsFilter>>,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    temperature: f64,
    sampler: Box<dyn Sampler>,
}

impl SamplerChain {
    /// The chain for validated options.
    pub fn new(options: &SamplingOptions) -> Self {
        let mut filters: Vec<Box<dyn LogitsFilter>> = Vec::new();
        if let Some(tokens) = &options.allowed_tokens {
            filters.push(Box::new(AllowedTokens::new(tokens)));
        }
        if !options.logit_bias.is_empty() {
            filters.push(Box::new(LogitBias::new(&options.logit_bias)));
        }
        if options.repetition_penalty != 1.0 {
            filters.push(Box::new(RepetitionPenalty {
                penalty: options.repetition_penalty,
                window: options.repetition_window,
            }));
        }
        if options.presence_penalty != 0.0 || options.frequency_penalty != 0.0 {
            filters.push(Box::new(OccurrencePenalty {
                presence: options.presence_penalty,
                frequency: options.frequency_penalty,
            }));
        }
        let temperature = f64::from(options.temperature);
        let is_greedy = options.temperature == 0.0;
        // The most likely token survives every cut, so greedy decoding needs no other candidate.
        let (top_k, top_p, min_p) =
            if is_greedy { (1, 1.0, 0.0) } else { (options.top_k, options.top_p, options.min_p) };
        let sampler: Box<dyn Sampler> =
            if is_greedy { Box::new(Greedy) } else { Box::new(Gumbel { temperature }) };
        Self { filters, top_k, top_p, min_p, temperature, sampler }
    }

    /// Replaces the sampler, keeping all filters and cuts.
    #[must_use]
    pub fn with_sampler(mut self, sampler: Box<dyn Sampler>) -> Self {
        self.sampler = sampler;
        self
    }

    /// Appends a filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Box<dyn LogitsFilter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// Samples a token. The filters modify `logits`, `[vocab_size]`.
    ///
    /// # Errors
    /// [`Error::InvalidLogits`] if a logit is not finite, [`Error::NoCandidates`] if the filters forbid every token.
    pub fn sample(
        &self,
        logits: &mut [f32],
        history: &mut History<'_>,
        draw: Draw,
        candidates: &mut Candidates,
    ) -> Result<TokenId, Error> {
        self.sample_within((None, logits), history, draw, candidates)
    }

    /// As [`SamplerChain::sample`], among the tokens that a grammar allows.
    pub(crate) fn sample_within(
        &self,
        (constraint, logits): (Option<&mut Constraint>, &mut [f32]),
        history: &mut History<'_>,
        draw: Draw,
        candidates: &mut Candidates,
    ) -> Result<TokenId, Error> {
        candidates.check(logits, draw.position as usize)?;
        let changes = constraint.is_some() || !self.filters.is_empty();
        if let Some(constraint) = constraint {
            constraint.mask(logits)?;
        }
        for filter in &self.filters {
            filter.apply(logits, history);
        }
        if changes {
            candidates.look_at(logits);
        }
        candidates.gather(logits, self.top_k);
        if self.top_p < 1.0 {
            candidates.keep_top_p(self.top_p, self.temperature);
        }
        if self.min_p > 0.0 {
            candidates.keep_min_p(self.min_p, self.temperature);
        }
        match candidates.as_slice() {
            [] => Err(Error::NoCandidates { position: draw.position as usize }),
            [only] => Ok(only.token),
            several => Ok(self.sampler.sample(several, draw)),
        }
    }
}
