//! Adding constants to the logits of single tokens.

use sm_tensor::TokenId;

use super::{History, LogitsFilter};

/// Constants for the logits of single tokens; `-inf` forbids one.
#[derive(Clone, Debug)]
pub struct LogitBias(Vec<(TokenId, f32)>);

impl LogitBias {
    /// The biases; a token that occurs twice gets the sum. Tokens outside of the vocabulary are ignored.
    pub fn new(biases: &[(TokenId, f32)]) -> Self {
        Self(biases.to_vec())
    }
}

impl LogitsFilter for LogitBias {
    fn apply(&self, logits: &mut [f32], _history: &mut History<'_>) {
        for (token, bias) in &self.0 {
            if let Some(logit) = logits.get_mut(token.0 as usize) {
                *logit += bias;
            }
        }
    }
}
