//! The running sequences, ranked by priority at admission, then by arrival. The last is preempted first.

use std::cmp::Reverse;

use sm_cache::KvCache;

use crate::request::SequenceId;
use crate::sequence::Sequence;

/// The running sequences, best ranked first.
#[derive(Debug, Default)]
pub(crate) struct Running {
    sequences: Vec<Sequence>,
}

impl Running {
    /// Adds a sequence at its rank.
    pub(crate) fn insert(&mut self, sequence: Sequence) {
        let rank =
            |sequence: &Sequence| (Reverse(sequence.admitted_priority), sequence.arrival_us, sequence.id);
        let index = self.sequences.partition_point(|other| rank(other) < rank(&sequence));
        self.sequences.insert(index, sequence);
    }

    /// Adds a fork of the sequence at `index`, as the `choice`-th of its request.
    pub(crate) fn insert_fork(&mut self, index: usize, choice: u32, fork: Sequence) {
        self.sequences.insert(index + choice as usize, fork);
    }

    pub(crate) fn remove(&mut self, index: usize) -> Sequence {
        self.sequences.remove(index)
    }

    /// Removes the worst ranked.
    pub(crate) fn pop(&mut self) -> Option<Sequence> {
        self.sequences.pop()
    }

    pub(crate) fn position(&self, id: SequenceId) -> Option<usize> {
        self.sequences.iter().position(|sequence| sequence.id == id)
    }

    pub(crate) fn get(&self, index: usize) -> &Sequence {
        &self.sequences[index]
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Sequence {
        &mut self.sequences[index]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.sequences.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sequence> {
        self.sequences.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.sequences.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Clears all assigned rows.
    pub(crate) fn clear_rows(&mut self) {
        self.sequences.iter_mut().for_each(|sequence| sequence.n_rows = 0);
    }

    /// Number of choices; a sequence not yet forked counts once per choice.
    pub(crate) fn n_choices(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.n_choices as usize).sum()
    }

    /// Whether a prompt is being computed.
    pub(crate) fn has_prefill(&self, cache: &KvCache) -> bool {
        self.sequences.iter().any(|sequence| sequence.is_prefilling(cache))
    }

    /// Pages that all of them need at full length.
    pub(crate) fn max_pages(&self, cache: &KvCache) -> usize {
        let n_pages = |sequence: &Sequence| cache.pages_for(sequence.max_len) * sequence.n_choices as usize;
        self.sequences.iter().map(n_pages).sum()
    }
}
