//! Sampling of the next token: a pure function of options, history, logits and (seed, choice, position).
//!
//! The order is:
//!
//! ```text
//! grammar → allowed tokens → bias → repetition, presence, frequency penalties → DRY → bad words, minimum length, custom filters
//!     → top-nσ → temperature → top-k → typical → top-p → min-p → XTC → draw
//! ```
//!
//! unless [`SamplingOptions::samplers`](field@crate::SamplingOptions::samplers) sets another. Mirostat replaces all cuts:
//! penalties → temperature → Mirostat's own cut → draw.
//!
//! Everything before the first cut modifies logits in place ([`LogitsFilter`]). Then the most likely tokens are gathered
//! as [`Candidate`]s and cut further, and a [`Sampler`] draws one. The temperature preserves the order of logits, so it is
//! applied in double precision only where probabilities are needed, and top-k compares undivided logits. Nothing sorts the
//! vocabulary by default, and nothing allocates after the first call.
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
mod chain;
mod cut;
mod dry;
mod dynamic_temperature;
mod early_end;
mod greedy;
mod gumbel;
mod history;
mod logprob;
mod min_p;
mod mirostat;
mod penalties;
mod philox;
mod seed;
mod softmax;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical;
mod xtc;

#[cfg(test)]
mod tests;

use sm_tensor::TokenId;

pub use allowed::AllowedTokens;
pub use bad_words::BadWords;
pub use bias::LogitBias;
pub use candidates::{Candidate, Candidates};
pub use chain::SamplerChain;
pub use dry::Dry;
pub use early_end::EarlyEnd;
pub use greedy::Greedy;
pub use gumbel::{Gumbel, noise};
pub use history::History;
pub use mirostat::MirostatState;
pub use penalties::{OccurrencePenalty, RepetitionPenalty};
pub use philox::philox4x32_10;
pub use seed::random_seed;

pub(crate) use dry::Breakers;
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
