//! Decode rows: one per decoding sequence, then rows for its drafts.
//!
//! Decoding precedes prefill in every step, so a long prompt never stalls the others: it gets the remaining rows. This is
//! stall-free batching as in [Sarathi-Serve](https://arxiv.org/abs/2403.02310) (Agrawal et al., 2024). A step verifies all
//! draft rows at once, as in [speculative decoding](https://arxiv.org/abs/2211.17192) (Leviathan et al., 2023):
//!
//! ```text
//! sequence   token_ids   drafts          rows
//! A          … a         –               a
//! B          … b         x y             b x y      logits after b verify x, after x verify y, after y give a new token
//! ```

use sm_cache::KvCache;

use crate::budget::StepBudget;
use crate::running::Running;

/// Assigns one row per decoding sequence, best ranked first, within the budget.
pub(crate) fn assign_rows(running: &mut Running, budget: &mut StepBudget, cache: &KvCache) {
    for sequence in running.iter_mut().filter(|sequence| sequence.is_decoding(cache)) {
        if budget.tokens > 0 && budget.outputs > 0 {
            sequence.n_rows = 1;
            budget.take(1, 1);
        }
    }
}

/// Assigns one row each to the `n` decoding sequences with the least recent step, so that all take turns.
pub(crate) fn assign_rows_in_turn(running: &mut Running, n: usize, budget: &mut StepBudget, cache: &KvCache) {
    for _ in 0..n {
        let decoding = running.iter_mut().filter(|s| s.n_rows == 0 && s.is_decoding(cache));
        if let Some(sequence) = decoding.min_by_key(|sequence| sequence.last_step) {
            sequence.n_rows = 1;
            budget.take(1, 1);
        }
    }
}

/// Assigns rows to drafts of sequences with a decode row, at most `max_drafts` in total.
pub(crate) fn assign_drafts(running: &mut Running, mut max_drafts: usize, budget: &mut StepBudget) {
    for sequence in running.iter_mut().filter(|sequence| sequence.n_rows > 0 && sequence.n_choices == 1) {
        let n_drafts = sequence.drafts.len().min(max_drafts).min(budget.outputs);
        sequence.n_rows += n_drafts;
        budget.take(n_drafts, n_drafts);
        max_drafts -= n_drafts;
    }
}
