//! Logit bias.

use sm_tensor::TokenId;

use super::{History, LogitsFilter};

/// Constants added to the logits of tokens; `-inf` forbids a token.
#[derive(Clone, Debug)]
pub struct LogitBias(Vec<(TokenId, f32)>);

impl LogitBias {
    /// Creates the filter. Duplicate tokens get the sum of their biases; tokens outside the vocabulary are ignored.
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
