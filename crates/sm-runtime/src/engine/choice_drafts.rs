//! How many drafts a choice should have.

use sm_batching::DraftLength;

/// What drafts were worth to one choice, by where they came from.
#[derive(Debug, Default)]
pub(crate) struct ChoiceDrafts {
    pub(super) lookup: DraftLength,
    pub(super) model: DraftLength,
    pub(super) origin: DraftOrigin,
    pub(crate) n_drafted: usize,
    pub(crate) n_accepted: usize,
}

/// Where the last drafts of a choice came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DraftOrigin {
    #[default]
    Lookup,
    Model,
}

impl ChoiceDrafts {
    /// Notes that of `n_drafts` the first `n_accepted` were accepted.
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
