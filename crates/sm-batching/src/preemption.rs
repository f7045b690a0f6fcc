//! Reserves pages and state slots for a step's rows, preempting sequences when they run out.
//!
//! The best ranked sequence reserves first. When memory runs out, the worst ranked sequence is preempted until there is
//! enough, possibly the one that needs it. So the best ranked sequence always advances, and all requests eventually finish.
//! This is vLLM's policy ([PagedAttention](https://arxiv.org/abs/2309.06180), section 4.5): all or nothing per sequence,
//! last come first preempted.
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
                // Drafts are not worth preempting for.
                sequence.n_rows = sequence.n_rows.min(sequence.remaining(cache));
                sequence.drafts.clear();
            }
            Err(error) if error.is_out_of_memory() && n_running == 1 => {
                // Leases outside the scheduler hold the rest. Preempting the last sequence would only free what it needs
                // itself, so it waits a step.
                sequence.n_rows = 0;
                index += 1;
            }
            Err(error) if error.is_out_of_memory() => sequences.preempt_last(cache),
            Err(error) => sequences.end_running(index, EndReason::Cache(error), cache),
        }
    }
}
