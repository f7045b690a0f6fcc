//! The requests that wait, bounded, and the order in which they are served.

use std::cmp::Reverse;

use sm_cache::KvCache;

use crate::config::{BatchingConfig, QueueOrder};
use crate::error::{BatchingError, QueueLimit};
use crate::fairness::Fairness;
use crate::hold::Hold;
use crate::sequence::{Priority, Sequence};

/// Above this many requests nobody is asked for cached prefixes.
const MAX_PREFIX_LOOKUPS: usize = 128;
/// Stands for a cached prefix that was not looked up yet.
const UNKNOWN: usize = usize::MAX;

/// The requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Vec<Sequence>,
    n_tokens: usize,
    /// Per request: its cached prefix; kept to allocate nothing.
    shared: Vec<usize>,
    /// Per request: whether the order has it already.
    taken: Vec<bool>,
    /// Per key: what it would have been served.
    served: Vec<u64>,
}

/// What decides who is next; the least first.
type Rank = (Reverse<Priority>, bool, u64, u64);

impl Queue {
    /// Whether one more request of `n_tokens` tokens may wait.
    ///
    /// # Errors
    /// The limit that it would exceed.
    pub(crate) fn check(&self, n_tokens: usize, config: &BatchingConfig) -> Result<(), BatchingError> {
        let over = |resource, limit: usize, actual: usize| {
            Err(BatchingError::ResourceLimit { resource, limit: limit as u64, actual: actual as u64 })
        };
        let (n_requests, n_tokens) = (self.waiting.len() + 1, self.n_tokens + n_tokens);
        if n_requests > config.max_queued_requests {
            return over(QueueLimit::Requests, config.max_queued_requests, n_requests);
        }
        if config.max_queued_tokens > 0 && n_tokens > config.max_queued_tokens {
            return over(QueueLimit::Tokens, config.max_queued_tokens, n_tokens);
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, sequence: Sequence) {
        self.n_tokens += sequence.token_ids.len();
        self.waiting.push(sequence);
    }

    /// Takes out the request at an index; that of the last changes to it.
    pub(crate) fn swap_remove(&mut self, index: usize) -> Sequence {
        let sequence = self.waiting.swap_remove(index);
        self.n_tokens -= sequence.token_ids.len();
        sequence
    }

    pub(crate) fn waiting(&self) -> &[Sequence] {
        &self.waiting
    }

    /// A request by its index.
    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Sequence {
        &mut self.waiting[index]
    }

    /// The requests that are held back.
    pub(crate) fn held_mut(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.waiting.iter_mut().filter(|sequence| sequence.hold == Hold::Held)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Tokens that wait.
    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Puts the indices of the first `limit` requests that are not held back into `order`, as if each was charged for its
    /// prompt when chosen.
    ///
    /// The level comes first; then those who were preempted; then the key that was served least; then arrival, in rounds;
    /// and only within a round the longest cached prefix, so that nobody is overtaken for long.
    pub(crate) fn order(&mut self, by: &Ordering<'_>, limit: usize, order: &mut Vec<usize>) {
        order.clear();
        self.taken.clear();
        self.taken.resize(self.waiting.len(), false);
        self.shared.clear();
        let first = if self.waiting.len() > MAX_PREFIX_LOOKUPS { 0 } else { UNKNOWN };
        self.shared.resize(self.waiting.len(), first);
        self.served.clear();
        self.served.extend((0..by.fairness.n_slots()).map(|slot| by.fairness.service(slot)));
        while order.len() < limit.min(self.waiting.len()) {
            let Some(next) = self.next(by) else {
                break;
            };
            self.taken[next] = true;
            let sequence = &self.waiting[next];
            if sequence.n_lost.is_none() {
                self.served[sequence.key] += by.config.prompt_service(sequence.token_ids.len());
            }
            order.push(next);
        }
    }

    fn next(&mut self, by: &Ordering<'_>) -> Option<usize> {
        let mut best: Option<(Rank, usize)> = None;
        for index in 0..self.waiting.len() {
            if self.taken[index] || self.waiting[index].hold == Hold::Held {
                continue;
            }
            let rank = self.rank(index, by);
            let goes_first = match best {
                None => true,
                Some((other, _)) if rank != other => rank < other,
                Some((_, other)) => self.wins_tie(index, other, by.cache),
            };
            if goes_first {
                best = Some((rank, index));
            }
        }
        best.map(|(_, index)| index)
    }

    fn rank(&self, index: usize, by: &Ordering<'_>) -> Rank {
        let sequence = &self.waiting[index];
        let is_new = sequence.n_lost.is_none();
        match by.config.order {
            QueueOrder::Fifo => (Reverse(Priority::Normal), is_new, 0, sequence.round),
            QueueOrder::RoundRobin => {
                (Reverse(Priority::Normal), is_new, self.served[sequence.key], sequence.round)
            }
            QueueOrder::Priority => {
                let level = level(sequence, by.now_us, by.config.priority_boost_after_us);
                (Reverse(level), is_new, self.served[sequence.key], sequence.round)
            }
        }
    }

    /// Whether a request goes before another of the same rank.
    fn wins_tie(&mut self, index: usize, other: usize, cache: &KvCache) -> bool {
        if self.waiting[index].key == self.waiting[other].key {
            let (own, others) = (self.shared_len(index, cache), self.shared_len(other, cache));
            if own != others {
                return own > others;
            }
        }
        self.waiting[index].id < self.waiting[other].id
    }

    fn shared_len(&mut self, index: usize, cache: &KvCache) -> usize {
        if self.shared[index] == UNKNOWN {
            let sequence = &self.waiting[index];
            self.shared[index] = cache.shared_len(&sequence.namespace, &sequence.token_ids);
        }
        self.shared[index]
    }
}

/// What the order depends on besides the requests.
#[derive(Debug)]
pub(crate) struct Ordering<'a> {
    pub(crate) config: &'a BatchingConfig,
    pub(crate) fairness: &'a Fairness,
    pub(crate) cache: &'a KvCache,
    pub(crate) now_us: u64,
}

/// The priority of a request that has waited: one level higher each time the boost passes, up to high.
pub(crate) fn level(sequence: &Sequence, now_us: u64, boost_after_us: u64) -> Priority {
    let n_boosts = now_us.saturating_sub(sequence.arrival_us) / boost_after_us.max(1);
    match (sequence.priority, n_boosts) {
        (Priority::Critical, _) => Priority::Critical,
        (Priority::Low, 0) => Priority::Low,
        (Priority::Low, 1) | (Priority::Normal, 0) => Priority::Normal,
        (Priority::Low | Priority::Normal | Priority::High, _) => Priority::High,
    }
}

impl BatchingConfig {
    /// What a prompt counts when keys are compared.
    pub(crate) fn prompt_service(&self, n_tokens: usize) -> u64 {
        (n_tokens as u64).saturating_mul(self.prompt_weight.into())
    }

    /// What generated tokens count when keys are compared.
    pub(crate) fn output_service(&self, n_tokens: usize) -> u64 {
        (n_tokens as u64).saturating_mul(self.output_weight.into())
    }
}

#[cfg(test)]
mod tests;
