//! Restricts sampling to some tokens.

use sm_tensor::TokenId;

use super::{History, LogitsFilter};

/// Forbids all other tokens.
#[derive(Clone, Debug)]
pub struct AllowedTokens(Vec<TokenId>);

impl AllowedTokens {
    /// Allows only `tokens`.
    pub fn new(tokens: &[TokenId]) -> Self {
        let mut tokens = tokens.to_vec();
        tokens.sort_unstable();
        Self(tokens)
    }
}

impl LogitsFilter for AllowedTokens {
    fn apply(&self, logits: &mut [f32], _history: &mut History<'_>) {
        let mut start = 0;
        for token in &self.0 {
            let token = (token.0 as usize).min(logits.len());
            if let Some(forbidden) = logits.get_mut(start..token) {
                forbidden.fill(f32::NEG_INFINITY);
            }
            start = token + 1;
        }
        if let Some(forbidden) = logits.get_mut(start..) {
            forbidden.fill(f32::NEG_INFINITY);
        }
    }
}
