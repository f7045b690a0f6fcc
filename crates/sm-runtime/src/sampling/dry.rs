//! Penalizes tokens that would extend a repetition of earlier text
//! ([DRY, Don't Repeat Yourself](https://github.com/oobabooga/text-generation-webui/pull/5677)).
//!
//! If the last `n ≥ allowed_length` tokens have occurred before, `multiplier · base^(n - allowed_length)` is subtracted from the
//! logit of the token that followed them, for the longest such `n`. Repetitions do not count across the last sequence breaker.
//! As in llama.cpp, the Z-algorithm on the reversed history finds the lengths in linear time. Like all penalties they are
//! recomputed for each draw, so there is no state.

use std::collections::BTreeMap;

use sm_tensor::TokenId;

use super::{History, LogitsFilter};
use crate::DryOptions;

/// The natural logarithm of the largest `f32`; a larger exponent would make the penalty infinite.
const MAX_LOG: f32 = 88.722_84;

/// Tokenized sequence breakers: for each token that can start one, the token sequences that complete it; empty if the token
/// contains all of it.
pub(crate) type Breakers = BTreeMap<TokenId, Vec<Vec<TokenId>>>;

/// The penalty of repeated sequences.
#[derive(Clone, Debug)]
pub struct Dry {
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    window: usize,
    breakers: Breakers,
}

impl Dry {
    /// The penalty for validated options; `breakers` are their tokenized sequence breakers.
    pub(crate) fn new(options: &DryOptions, breakers: Breakers) -> Self {
        let DryOptions { multiplier, base, allowed_length, window, .. } = *options;
        Self { multiplier, base, allowed_length, window, breakers }
    }

    /// The longest repetition that counts: the number of tokens in `recent` after the last sequence breaker.
    fn longest(&self, recent: &[TokenId]) -> usize {
        let breaker = |index: usize| {
            let tails = self.breakers.get(&recent[recent.len() - 1 - index])?;
            let follows = |tail: &&Vec<TokenId>| {
                tail.len() <= index && recent[recent.len() - index..].starts_with(tail)
            };
            let tail_len = tails.iter().filter(follows).map(Vec::len).max()?;
            Some(index - tail_len)
        };
        (0..recent.len()).find_map(breaker).unwrap_or(recent.len())
    }

    /// The penalty for extending a repetition of `len` tokens.
    fn penalty(&self, len: usize) -> f32 {
        let max_exponent = if self.base > 1.000_001 { (MAX_LOG / libm::logf(self.base)) as usize } else { 0 };
        let exponent = len - self.allowed_length;
        let exponent = if max_exponent > 0 { exponent.min(max_exponent) } else { exponent };
        self.multiplier * libm::powf(self.base, exponent as f32)
    }

    /// Whether a token is a sequence breaker by itself.
    fn is_breaker(&self, token: TokenId) -> bool {
        self.breakers.get(&token).is_some_and(|tails| tails.iter().any(Vec::is_empty))
    }
}

impl LogitsFilter for Dry {
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>) {
        let tokens = history.tokens();
        let n_seen = if self.window == 0 { tokens.len() } else { self.window.min(tokens.len()) };
        let recent = &tokens[tokens.len() - n_seen..];
        if n_seen <= self.allowed_length {
            return;
        }
        let longest = self.longest(recent);
        if longest < self.allowed_length {
            return;
        }
        // One number per token of the vocabulary, then one per token of the history.
        let n_vocab = logits.len();
        let counts = history.scratch();
        counts.resize(counts.len().max(n_vocab + n_seen), 0);
        let (longest_before, lengths) = counts.split_at_mut(n_vocab);
        suffix_lengths(recent, &mut lengths[..n_seen]);
        // Lengths are stored plus one; 0 means none.
        for (distance, length) in lengths[..n_seen].iter().enumerate().skip(1) {
            let length = (*length as usize).min(longest);
            let next = recent[n_seen - distance].0 as usize;
            if length >= self.allowed_length && next < n_vocab {
                longest_before[next] = longest_before[next].max(length as u32 + 1);
            }
        }
        for token in recent {
            let idx = token.0 as usize;
            if idx < n_vocab && longest_before[idx] > 0 {
                let length = std::mem::take(&mut longest_before[idx]) as usize - 1;
                if !self.is_breaker(*token) {
                    logits[idx] -= self.penalty(length);
                }
            }
        }
        lengths[..n_seen].fill(0);
    }
}

/// For each distance from the end of `tokens`, the length of the common suffix with all of `tokens`: the Z-algorithm, backwards.
/// Distance 0 is unused.
fn suffix_lengths(tokens: &[TokenId], lengths: &mut [u32]) {
    let n = tokens.len();
    let from_end = |index: usize| tokens[n - 1 - index];
    // The rightmost match found so far, as a range of distances.
    let (mut start, mut end) = (0, 0);
    for distance in 1..n {
        let known = if distance < end { (lengths[distance - start] as usize).min(end - distance) } else { 0 };
        let mut length = known;
        while distance + length < n && from_end(length) == from_end(distance + length) {
            length += 1;
        }
        lengths[distance] = length as u32;
        if distance + length > end {
            (start, end) = (distance, distance + length);
        }
    }
}
