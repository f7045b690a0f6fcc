//! Pages and state slots for the rows of a step, and preemption where there are none.
//!
//! They are reserved for the best ranked sequence first. Where none is left, the worst ranked one is preempted until there
//! are enough, possibly the one that needs them. So the best ranked sequence always advances, and whatever else happens all
//! requests end. The policy is that of vLLM ([PagedAttention](https://arxiv.org/abs/2309.06180), section 4.5): all or nothing
//! of a sequence, last come first preempted.
//!
//! ```text
//! rank   1   2   3   4          2 needs a page, none is left:  4 is preempted
//! pages  ok  ?   –   –          still none:                    3 is preempted, and 2 has its page
//! ```

use sm_cache::KvCache;
use sm_tensor::PageId;

use crate::request::EndReason;
use crate::sequences::Sequences;

/// Reserves pages and states for the assigned rows; `copies` gets the pages to copy before the step.
pub(crate) fn reserve_rows(
    sequences: &mut Sequences,
    copies: &mut Vec<(PageId, PageId)>,
    cache: &mut KvCache,
) {
    let mut index = 0;
    while index < sequences.running.len() {
        let n_running = sequences.running.len();
        let sequence = sequences.running.get_mut(index);
        match sequence.reserve_rows(copies, cache) {
            Ok(()) => index += 1,
            Err(error) if error.is_out_of_memory() && !sequence.drafts.is_empty() => {
                // Drafts are not worth a preemption.
                sequence.n_rows = sequence.n_rows.min(sequence.remaining(cache));
                sequence.drafts.clear();
            }
            Err(error) if error.is_out_of_memory() && n_running == 1 => {
                // Leases outside the scheduler hold the rest. Preempting the last sequence would not free any that it
                // does not need itself, so it waits a step.
                sequence.n_rows = 0;
                index += 1;
            }
            Err(error) if error.is_out_of_memory() => sequences.preempt_last(cache),
            Err(error) => sequences.end_running(index, EndReason::Cache(error), cache),
        }
    }
}
