//! Holds waiting requests back while their pages are fetched from elsewhere.

use sm_cache::{KvCache, Namespace};
use sm_tensor::TokenId;

use crate::queue::Ordering;
use crate::schedule::LOOK_AHEAD;
use crate::scheduler::Scheduler;
use crate::sequence::SequenceId;

/// Whether a waiting sequence may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nobody was asked; it may.
    #[default]
    Unasked,
    /// It may not.
    Held,
    /// It may, and nobody is asked again.
    Free,
}

/// A waiting request that may start soon.
#[derive(Clone, Copy, Debug)]
pub struct Upcoming<'a> {
    /// Its sequence: the first, unless it ran already.
    pub id: SequenceId,
    /// The tokens whose pages it can use: all that it has, or fewer if logits of its prompt are wanted. The last one is
    /// computed in any case.
    pub tokens: &'a [TokenId],
    /// Whose pages it can use.
    pub namespace: &'a Namespace,
}

impl Scheduler {
    /// Asks, for each request that may start soon and that was not asked about since it began to wait, whether it is to be
    /// held back, best ranked first. A held one keeps its place in the queue but does not start before
    /// [`Scheduler::release_held`].
    pub fn hold_where(
        &mut self,
        now_us: u64,
        cache: &KvCache,
        mut is_held: impl FnMut(Upcoming<'_>) -> bool,
    ) {
        let n_slots = self.current_batch_size().saturating_sub(self.n_running());
        if n_slots == 0 || self.queue.waiting().iter().all(|waiting| waiting.hold != Hold::Unasked) {
            return;
        }
        let by = Ordering { config: &self.config, fairness: &self.fairness, cache, now_us };
        self.queue.order(&by, n_slots + LOOK_AHEAD, &mut self.order);
        for index in &self.order {
            let sequence = self.queue.get_mut(*index);
            if sequence.hold == Hold::Unasked {
                let (id, tokens) = (sequence.id, sequence.reusable());
                let is_held = is_held(Upcoming { id, tokens, namespace: &sequence.namespace });
                sequence.hold = if is_held { Hold::Held } else { Hold::Free };
            }
        }
    }

    /// Lets a held request start. Does nothing if it is not held.
    pub fn release_held(&mut self, id: SequenceId) {
        self.set_hold(id, Hold::Free);
    }

    /// Lets a held request be asked about again. Does nothing if it is not held.
    pub fn ask_again(&mut self, id: SequenceId) {
        self.set_hold(id, Hold::Unasked);
    }

    fn set_hold(&mut self, id: SequenceId, hold: Hold) {
        if let Some(sequence) = self.queue.held_mut().find(|sequence| sequence.id == id) {
            sequence.hold = hold;
        }
    }
}
