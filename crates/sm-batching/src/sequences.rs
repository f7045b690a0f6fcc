//! All sequences and their transitions from waiting to running to ended.
//!
//! ```text
//!            admit                 end
//!  waiting ────────► running ──────────► ended
//!     │    ◄────────                       ▲
//!     │     preempt                        │
//!     └────────────────────────────────────┘
//!                 cancelled, timed out
//! ```
//!
//! A preempted sequence releases its pages and state but keeps its tokens. It waits ahead of those that never ran; on
//! resuming, it recomputes what is no longer cached and continues with the same tokens. Recomputation is chosen over
//! swapping because the prefix index usually still has most of the pages
//! ([PagedAttention](https://arxiv.org/abs/2309.06180), section 4.5, compares the two).

use sm_cache::KvCache;

use crate::config::BatchingConfig;
use crate::fairness::Fairness;
use crate::queue::Queue;
use crate::request::{EndReason, Ended};
use crate::running::Running;
use crate::sequence::{Prefetch, Sequence};
use crate::stats::BatchingStats;

/// All sequences by state, and the counters that change with it.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    pub(crate) waiting: Queue,
    pub(crate) running: Running,
    /// Ended sequences not yet collected by the caller.
    pub(crate) ended: Vec<Ended>,
    pub(crate) fairness: Fairness,
    pub(crate) stats: BatchingStats,
}

impl Sequences {
    /// All queued and running sequences.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().chain(self.waiting.iter())
    }

    /// Ends all sequences for which `reason` returns one. Returns their number.
    pub(crate) fn end_where(
        &mut self,
        cache: &mut KvCache,
        reason: impl Fn(&Sequence, &KvCache) -> Option<EndReason>,
    ) -> usize {
        let n_ended = self.ended.len();
        for index in (0..self.waiting.len()).rev() {
            if let Some(reason) = reason(self.waiting.get(index), cache) {
                let sequence = self.waiting.swap_remove(index);
                self.end(sequence, reason, cache);
            }
        }
        for index in (0..self.running.len()).rev() {
            if let Some(reason) = reason(self.running.get(index), cache) {
                self.end_running(index, reason, cache);
            }
        }
        self.ended.len() - n_ended
    }

    /// Ends the running sequence at `index`.
    pub(crate) fn end_running(&mut self, index: usize, reason: EndReason, cache: &mut KvCache) {
        let sequence = self.running.remove(index);
        self.end(sequence, reason, cache);
    }

    fn end(&mut self, sequence: Sequence, reason: EndReason, cache: &mut KvCache) {
        self.fairness.leave(sequence.client);
        self.stats.count_end(&reason);
        self.ended.push(sequence.end(reason, cache));
    }

    /// Adds a leased sequence, taken out of the queue, to the running ones.
    pub(crate) fn admit(
        &mut self,
        mut sequence: Sequence,
        config: &BatchingConfig,
        now_us: u64,
        cache: &KvCache,
    ) {
        let waited_us = now_us.saturating_sub(sequence.arrival_us);
        match sequence.preempted_at.take() {
            None => {
                self.stats.admitted += 1;
                self.stats.waited_us += waited_us;
                self.fairness.charge(sequence.client, config.prompt_service(sequence.n_prompt));
            }
            Some(n_computed) => {
                self.stats.recomputed_tokens += n_computed.saturating_sub(sequence.computed(cache)) as u64;
            }
        }
        // Keep its aged priority; otherwise the next urgent request would preempt it immediately.
        sequence.admitted_priority = sequence.priority.aged(waited_us, config.priority_boost_after_us);
        self.running.insert(sequence);
    }

    /// Preempts the worst ranked running sequence.
    pub(crate) fn preempt_last(&mut self, cache: &mut KvCache) {
        if let Some(mut sequence) = self.running.pop() {
            sequence.preempted_at = Some(sequence.computed(cache));
            sequence.release_lease(cache);
            sequence.prefetch = Prefetch::Unasked;
            self.stats.preempted += 1;
            self.waiting.push(sequence);
        }
    }

    /// Splits the running sequence at `index`, whose prompt is computed, into its choices.
    pub(crate) fn fork(&mut self, index: usize, cache: &mut KvCache) {
        let n_choices = std::mem::replace(&mut self.running.get_mut(index).n_choices, 1);
        for choice in 1..n_choices {
            let fork = self.running.get(index).fork(choice, cache);
            self.fairness.enter_again(fork.client);
            self.running.insert_fork(index, choice, fork);
        }
    }
}
