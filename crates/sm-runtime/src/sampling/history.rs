//! The token history that penalties see.

use sm_tensor::TokenId;

use super::MirostatState;

/// The tokens of a sequence, and scratch for counting them.
///
/// Tokens are recounted for each draw instead of keeping counts per sequence: there is nothing to save on preemption, and
/// counting a few thousand tokens takes microseconds.
#[derive(Debug)]
pub struct History<'a> {
    tokens: &'a [TokenId],
    n_prompt: usize,
    /// One count per vocabulary entry; all zero between calls.
    counts: &'a mut Vec<u32>,
    mirostat: Mirostat<'a>,
}

/// Mirostat's state.
#[derive(Debug)]
enum Mirostat<'a> {
    /// Stored with the sequence.
    Kept(&'a mut MirostatState),
    /// For a single draw.
    New(MirostatState),
}

impl<'a> History<'a> {
    /// The history `tokens`: the first `n_prompt` are the prompt, the rest generated. `counts` is scratch, initially empty
    /// and reused unchanged between calls.
    pub fn new(tokens: &'a [TokenId], n_prompt: usize, counts: &'a mut Vec<u32>) -> Self {
        let mirostat = Mirostat::New(MirostatState::default());
        Self { tokens, n_prompt: n_prompt.min(tokens.len()), counts, mirostat }
    }

    /// Attaches Mirostat's state, which the next draw updates. Without it, every draw starts from the initial state.
    #[must_use]
    pub fn with_mirostat(self, state: &'a mut MirostatState) -> Self {
        Self { mirostat: Mirostat::Kept(state), ..self }
    }

    /// Mirostat's state.
    pub(crate) fn mirostat(&mut self) -> &mut MirostatState {
        match &mut self.mirostat {
            Mirostat::Kept(state) => state,
            Mirostat::New(state) => state,
        }
    }

    /// The counts, as scratch; must be all zero again afterwards.
    pub(crate) fn scratch(&mut self) -> &mut Vec<u32> {
        self.counts
    }

    /// Prompt and output, in order.
    pub fn tokens(&self) -> &'a [TokenId] {
        self.tokens
    }

    /// The output so far.
    pub fn generated(&self) -> &'a [TokenId] {
        &self.tokens[self.n_prompt..]
    }

    /// Calls `visit` once for each distinct token of `tokens`, with its count.
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
