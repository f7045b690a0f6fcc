//! Makes sequences give way when pages run out.
//!
//! A preempted sequence gives its pages back and keeps its tokens: it waits again, before those who never ran, and
//! computes again what cannot be found in the cache any more. Nothing it generates changes.

use sm_cache::KvCache;

use crate::hold::Hold;
use crate::scheduler::Scheduler;
use crate::sequence::Sequence;

impl Scheduler {
    /// Preempts the worst ranked sequence: of the lowest priority, the youngest.
    pub(crate) fn preempt_last(&mut self, cache: &mut KvCache) {
        if let Some(mut sequence) = self.running.pop() {
            sequence.n_lost = Some(sequence.computed(cache));
            sequence.unlease(cache);
            sequence.hold = Hold::Unasked;
            self.stats.preempted += 1;
            self.queue.push(sequence);
        }
    }
}

impl Sequence {
    /// Gives its pages back until it is leased again.
    pub(crate) fn unlease(&mut self, cache: &mut KvCache) {
        self.drop_lease(cache);
        self.drafts.clear();
        self.n_rows = 0;
    }
}
