//! A step's remaining row budget.

use crate::config::{BatchingConfig, StepLimits};

/// Rows left in a step, reduced as they are assigned.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepBudget {
    /// Rows.
    pub(crate) tokens: usize,
    /// Rows with outputs.
    pub(crate) outputs: usize,
    /// Prefill rows. Capped by `tokens`; lower to meet a target latency.
    pub(crate) prefill: usize,
    /// Maximum rows of one prompt.
    pub(crate) max_chunk: usize,
}

impl StepBudget {
    pub(crate) fn new(config: &BatchingConfig, limits: &StepLimits) -> Self {
        let tokens = config.max_step_tokens.min(limits.max_tokens);
        let max_chunk = match config.max_chunk_tokens {
            0 => usize::MAX,
            max_chunk => max_chunk,
        };
        Self { tokens, outputs: limits.max_outputs, prefill: tokens, max_chunk }
    }

    /// Whether a prompt can have a row.
    pub(crate) fn has_prefill_rows(&self) -> bool {
        self.tokens > 0 && self.prefill > 0
    }

    pub(crate) fn take(&mut self, n_rows: usize, n_outputs: usize) {
        self.tokens -= n_rows;
        self.outputs -= n_outputs;
    }
}
