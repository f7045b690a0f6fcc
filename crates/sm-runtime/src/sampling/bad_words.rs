//! Keeps words out of the output.

use sm_tensor::TokenId;

use super::{History, LogitsFilter};

/// Token sequences to suppress: forbids the last token of each when the output ends in the tokens before it.
#[derive(Clone, Debug)]
pub struct BadWords(pub Vec<Vec<TokenId>>);

impl LogitsFilter for BadWords {
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>) {
        for sequence in &self.0 {
            if let Some((last, before)) = sequence.split_last()
                && history.generated().ends_with(before)
                && let Some(logit) = logits.get_mut(last.0 as usize)
            {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}
