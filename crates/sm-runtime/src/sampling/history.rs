//! What the sequence holds so far, as penalties see it.

use sm_tensor::TokenId;

/// The tokens of a sequence, and scratch to count them.
///
/// Counts are made anew for each draw instead of being kept per sequence: so there is nothing to save when a sequence
/// is preempted, and a few thousand tokens take microseconds.
#[derive(Debug)]
pub struct History<'a> {
    tokens: &'a [TokenId],
    n_prompt: usize,
    /// One count per token of the vocabulary; all zero between calls.
    counts: &'a mut Vec<u32>,
}

impl<'a> History<'a> {
    /// The history `tokens`, of which the first `n_prompt` were given and the rest generated. `counts` is scratch, empty
    /// at first and then left as it is.
    pub fn new(tokens: &'a [TokenId], n_prompt: usize, counts: &'a mut Vec<u32>) -> Self {
        Self { tokens, n_prompt: n_prompt.min(tokens.len()), counts }
    }

    /// Prompt and output, in order.
    pub fn tokens(&self) -> &'a [TokenId] {
        self.tokens
    }

    /// The output so far.
    pub fn generated(&self) -> &'a [TokenId] {
        &self.tokens[self.n_prompt..]
    }

    /// Calls `visit` with each distinct token of `tokens` once, and how often it occurs there.
    pub fn for_each_distinct(&mut self, tokens: &[TokenId], mut visit: impl FnMut(TokenId, u32)) {
        for token in tokens {
            let idx = token.0 as usize;
            if idx >= self.counts.len() {
                self.counts.resize(idx + 1, 0);
            }
            self.counts[idx] += 1;
        }
        for token in tokens {
            let count = std::mem::take(&mut self.counts[token.0 as usize]);
            if count > 0 {
                visit(*token, count);
            }
        }
    }
}
