//! Prevents an output from ending before its minimum length.

use sm_tensor::TokenId;

use super::{History, LogitsFilter};

/// Forbids end tokens until the output has its minimum length.
#[derive(Clone, Debug)]
pub struct EarlyEnd {
    /// The tokens that end an output.
    pub tokens: Vec<TokenId>,
    /// Minimum number of generated tokens.
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
