//! Keeping an output from ending before its minimum length.

use sm_tensor::TokenId;

use super::{History, LogitsFilter};

/// Forbids the tokens that would end the output as long as it has fewer tokens than wanted.
#[derive(Clone, Debug)]
pub struct EarlyEnd {
    /// The tokens that end an output.
    pub tokens: Vec<TokenId>,
    /// Generated tokens before one of them may come.
    pub min_new_tokens: usize,
}

impl LogitsFilter for EarlyEnd {
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>) {
        if history.generated().len() >= self.min_new_tokens {
            return;
        }
        for token in &self.tokens {
            if let Some(logit) = logits.get_mut(token.0 as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}
