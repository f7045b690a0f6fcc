//! The bounded queue and its service order.
//!
//! The next request is the minimum of
//!
//! ```text
//! (aged priority, preempted before new, service of its client, arrival step, cached prefix, id)
//! ```
//!
//! * Priority is aged by waiting (see [`Priority`]), so that nobody starves.
//! * Clients share service by virtual token counters (see [`Fairness`]). A chosen request is charged for its prompt right
//!   away when choosing the next one; otherwise one client's whole queue would go first.
//! * The longest cached prefix is only a tie break among requests that arrived between the same two steps. Ordering by it
//!   first, as [RadixAttention](https://arxiv.org/abs/2312.07104) does (Zheng et al., 2024), saves more work but lets popular
//!   prefixes overtake everything else indefinitely.

use std::cmp::Reverse;

use sm_cache::KvCache;

use crate::config::{BatchingConfig, QueueOrder};
use crate::error::{BatchingError, QueueLimit};
use crate::fairness::Fairness;
use crate::request::{Priority, SequenceId};
use crate::sequence::{Prefetch, Sequence};

/// Above this queue length, cached prefixes are not looked up, because a lookup hashes the whole prompt.
const MAX_PREFIX_LOOKUPS: usize = 128;
/// A cached prefix not looked up yet.
const UNKNOWN: usize = usize::MAX;

/// The queued requests, unordered.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Vec<Sequence>,
    n_tokens: usize,
    /// Scratch, per request: the length of its cached prefix.
    shared: Vec<usize>,
    /// Scratch, per request: whether it is in the order already.
    taken: Vec<bool>,
    /// Scratch, per client: its service, including the prompts already in the order.
    served: Vec<u64>,
}

/// The sort key of a request, up to ties; the least goes first.
type Rank = (Reverse<Priority>, bool, u64, u64);

impl Queue {
    /// Checks for room for one more request of `n_tokens` tokens.
    ///
    /// # Errors
    /// The limit it would exceed.
    pub(crate) fn check(&self, n_tokens: usize, config: &BatchingConfig) -> Result<(), BatchingError> {
        let over = |resource, limit: usize, actual: usize| {
            Err(BatchingError::ResourceLimit { resource, limit: limit as u64, actual: actual as u64 })
        };
        let n_requests = self.waiting.len() + 1;
        let n_tokens = self.n_tokens + n_tokens;
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

    /// Removes the request at an index, moving the last one there.
    pub(crate) fn swap_remove(&mut self, index: usize) -> Sequence {
        let sequence = self.waiting.swap_remove(index);
        self.n_tokens -= sequence.token_ids.len();
        sequence
    }

    pub(crate) fn get(&self, index: usize) -> &Sequence {
        &self.waiting[index]
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Sequence {
        &mut self.waiting[index]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.waiting.iter()
    }

    /// Admissible requests: those without a pending prefetch.
    pub(crate) fn admissible(&self) -> impl Iterator<Item = &Sequence> {
        self.waiting.iter().filter(|sequence| sequence.prefetch != Prefetch::Pending)
    }

    /// The request `id`, if its prefetch is pending.
    pub(crate) fn prefetching_mut(&mut self, id: SequenceId) -> Option<&mut Sequence> {
        let mut pending = self.waiting.iter_mut().filter(|sequence| sequence.prefetch == Prefetch::Pending);
        pending.find(|sequence| sequence.id == id)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Total tokens in the queue.
    pub(crate) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Fills `order` with the indices of the first `limit` admissible requests.
    pub(crate) fn order(&mut self, by: RankBy<'_>, limit: usize, order: &mut Vec<usize>) {
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
            if sequence.preempted_at.is_none() {
                self.served[sequence.client] += by.config.prompt_service(sequence.token_ids.len());
            }
            order.push(next);
        }
    }

    fn next(&mut self, by: RankBy<'_>) -> Option<usize> {
        let mut best: Option<(Rank, usize)> = None;
        for index in 0..self.waiting.len() {
            if self.taken[index] || self.waiting[index].prefetch == Prefetch::Pending {
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

    fn rank(&self, index: usize, by: RankBy<'_>) -> Rank {
        let sequence = &self.waiting[index];
        let priority = match by.config.order {
            QueueOrder::Fifo | QueueOrder::RoundRobin => Priority::Normal,
            QueueOrder::Priority => {
                let waited_us = by.now_us.saturating_sub(sequence.arrival_us);
                sequence.priority.aged(waited_us, by.config.priority_boost_after_us)
            }
        };
        let served = match by.config.order {
            QueueOrder::Fifo => 0,
            QueueOrder::RoundRobin | QueueOrder::Priority => self.served[sequence.client],
        };
        (Reverse(priority), sequence.preempted_at.is_none(), served, sequence.arrival_step)
    }

    /// Whether a request precedes another of equal rank.
    fn wins_tie(&mut self, index: usize, other: usize, cache: &KvCache) -> bool {
        if self.waiting[index].client == self.waiting[other].client {
            let own = self.shared_len(index, cache);
            let others = self.shared_len(other, cache);
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

/// Inputs of the ranking besides the requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RankBy<'a> {
    pub(crate) config: &'a BatchingConfig,
    pub(crate) fairness: &'a Fairness,
    pub(crate) cache: &'a KvCache,
    pub(crate) now_us: u64,
}

#[cfg(test)]
mod tests;
