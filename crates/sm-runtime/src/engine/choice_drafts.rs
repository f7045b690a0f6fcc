//! Chooses how many drafts a choice gets.

use sm_batching::DraftLength;

/// Draft acceptance of one choice, by draft origin.
#[derive(Debug, Default)]
pub(crate) struct ChoiceDrafts {
    pub(super) lookup: DraftLength,
    pub(super) model: DraftLength,
    pub(super) origin: DraftOrigin,
    pub(crate) n_drafted: usize,
    pub(crate) n_accepted: usize,
}

/// Origin of a choice's last drafts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DraftOrigin {
    #[default]
    Lookup,
    Model,
}

impl ChoiceDrafts {
    /// Records that the first `n_accepted` of `n_drafts` were accepted.
    pub(crate) fn observe(&mut self, n_drafts: usize, n_accepted: usize) {
        self.n_drafted += n_drafts;
        self.n_accepted += n_accepted;
        let length = match self.origin {
            DraftOrigin::Lookup => &mut self.lookup,
            DraftOrigin::Model => &mut self.model,
        };
        length.observe(n_drafts, n_accepted);
    }
}
