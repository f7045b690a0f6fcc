//! Pages for the rows of a step, and preemption where there are none.
//!
//! Pages are reserved for the best ranked sequence first. Where none is left, the worst ranked one is preempted until the
//! pages suffice, possibly the one that needs them. So the best ranked sequence always advances, and whatever else happens
//! all requests end. The policy is that of vLLM ([PagedAttention](https://arxiv.org/abs/2309.06180), section 4.5): all or
//! nothing of a sequence, last come first preempted.

use sm_cache::{CacheError, KvCache};
use sm_tensor::PageId;

use crate::request::EndReason;
use crate::sequences::Sequences;

/// Reserves pages for the assigned rows; `copies` gets the pages to copy before the step.
pub(crate) fn reserve_rows(
    sequences: &mut Sequences,
    copies: &mut Vec<(PageId, PageId)>,
    cache: &mut KvCache,
) {
    let mut index = 0;
    while index < sequences.running.len() {
        let n_running = sequences.running.len();
        let sequence = sequences.running.get_mut(index);
        let Some(lease) = sequence.lease.as_ref().filter(|_| sequence.n_rows > 0) else {
            index += 1;
            continue;
        };
        let len = cache.computed(lease) + sequence.n_rows;
        match cache.reserve(lease, len, copies) {
            Ok(()) => index += 1,
            Err(CacheError::OutOfPages { .. }) if !sequence.drafts.is_empty() => {
                // Drafts are not worth a preemption.
                sequence.n_rows = sequence.n_rows.min(sequence.remaining(cache));
                sequence.drafts.clear();
            }
            Err(CacheError::OutOfPages { .. }) if n_running == 1 => {
                // Somebody outside the scheduler holds the pages. Preempting the last sequence would not free any that it
                // does not need itself, so it waits a step.
                sequence.n_rows = 0;
                index += 1;
            }
            Err(CacheError::OutOfPages { .. }) => sequences.preempt_last(cache),
            Err(error) => sequences.end_running(index, EndReason::Cache(error), cache),
        }
    }
}
