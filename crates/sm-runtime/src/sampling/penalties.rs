//! Penalties for tokens that have occurred before.

use super::{History, LogitsFilter};

/// Divides positive and multiplies negative logits of tokens in the prompt or the output, once per token
/// ([CTRL](https://arxiv.org/abs/1909.05858), section 4.1).
#[derive(Clone, Copy, Debug)]
pub struct RepetitionPenalty {
    /// Above 1 for less repetition, below 1 for more.
    pub penalty: f32,
    /// Number of most recent tokens considered; 0 means all.
    pub window: usize,
}

impl LogitsFilter for RepetitionPenalty {
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>) {
        let tokens = history.tokens();
        let n_seen = if self.window == 0 { tokens.len() } else { self.window.min(tokens.len()) };
        history.for_each_distinct(&tokens[tokens.len() - n_seen..], |token, _| {
            if let Some(logit) = logits.get_mut(token.0 as usize) {
                *logit = if *logit > 0.0 { *logit / self.penalty } else { *logit * self.penalty };
            }
        });
    }
}

/// Subtracts from the logits of generated tokens. Ignores the prompt.
#[derive(Clone, Copy, Debug)]
pub struct OccurrencePenalty {
    /// Subtracted once.
    pub presence: f32,
    /// Subtracted per occurrence.
    pub frequency: f32,
}

impl LogitsFilter for OccurrencePenalty {
    fn apply(&self, logits: &mut [f32], history: &mut History<'_>) {
        history.for_each_distinct(history.generated(), |token, count| {
            if let Some(logit) = logits.get_mut(token.0 as usize) {
                *logit -= self.presence + self.frequency * count as f32;
            }
        });
    }
}
