//! Prefill rows: prompt chunks in the rows that decoding leaves.
//!
//! A prompt that does not fit is split, and its next chunk goes into the next step, next to all decode rows (chunked
//! prefill, [Sarathi-Serve](https://arxiv.org/abs/2403.02310), 2024). With a target inter-token latency, the cost model
//! sizes chunks so that the step stays within it.
//!
//! ```text
//! step          1            2            3
//! decode rows   A B C        A B C        A B C D
//! prefill rows  D[0..509]    D[509..1018] E[0..200]       512 rows per step at most
//! ```

use sm_cache::KvCache;

use crate::budget::StepBudget;
use crate::cost::{CostModel, StepLoad};
use crate::running::Running;
use crate::sequence::Sequence;

/// Limits prefill rows so that the step stays within `target_us`, if there are decode rows to delay.
pub(crate) fn limit_rows(
    budget: &mut StepBudget,
    target_us: Option<u64>,
    running: &Running,
    cost: &CostModel,
    cache: &KvCache,
) {
    budget.prefill = budget.tokens;
    let mut decoding = StepLoad::default();
    for sequence in running.iter().filter(|sequence| sequence.n_rows > 0) {
        decoding.n_rows += sequence.n_rows;
        decoding.context += (sequence.n_rows * sequence.token_ids.len()) as u64;
    }
    if let Some(target_us) = target_us
        && decoding.n_rows > 0
    {
        let prompts = running.iter().filter(|sequence| sequence.n_rows == 0);
        let start = prompts.map(|sequence| sequence.computed(cache)).max().unwrap_or(0);
        budget.prefill = cost.chunk_within(target_us, decoding, start, budget.tokens);
    }
}

/// Assigns rows to the next chunk of each prompt, best ranked first.
pub(crate) fn assign_chunks(running: &mut Running, budget: &mut StepBudget, cache: &KvCache) {
    for sequence in running.iter_mut().filter(|sequence| sequence.is_prefilling(cache)) {
        assign_chunk(sequence, budget, cache);
    }
}

/// Assigns rows to the next chunk of one prompt.
pub(crate) fn assign_chunk(sequence: &mut Sequence, budget: &mut StepBudget, cache: &KvCache) {
    let start = sequence.computed(cache);
    let remaining = sequence.remaining(cache);
    let mut n_rows = remaining.min(budget.tokens).min(budget.prefill).min(budget.max_chunk);
    let n_outputs =
        |n_rows| (start..start + n_rows).filter_map(|position| sequence.wanted_at(position)).count();
    if n_outputs(n_rows) > budget.outputs {
        // The longest chunk whose outputs fit. Searching from the end is fast: a prompt has one output, at its end, unless
        // all its logits are requested.
        n_rows = (0..n_rows).rev().find(|n_rows| n_outputs(*n_rows) <= budget.outputs).unwrap_or(0);
    }
    budget.take(n_rows, n_outputs(n_rows));
    budget.prefill -= n_rows;
    sequence.n_rows = n_rows;
}
