//! Leases: the memory of running sequences, by index.

use sm_tensor::StateSlot;

use crate::page_table::PageTable;

/// A running sequence's lease on its pages and state.
///
/// Not copyable. Its memory stays in use until it is passed to [`KvCache::release`](crate::KvCache::release) or
/// [`KvCache::end_turn`](crate::KvCache::end_turn); [`KvCache::check_leases`](crate::KvCache::check_leases) finds handles
/// that were dropped instead.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the pages stay in use until the handle is released"]
pub struct KvHandle {
    pub(crate) lease: u32,
}

/// The state after `position` positions, and the slot a step writes it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptState {
    /// Positions before it.
    pub position: usize,
    /// Destination slot.
    pub slot: StateSlot,
}

/// The states that a lease's step writes, from the reservation to the commit.
#[derive(Debug, Default)]
pub(crate) struct StepStates {
    pub(crate) written: Option<WrittenState>,
    /// By ascending position; pinned by the lease.
    pub(crate) kept: Vec<KeptState>,
}

/// The state after a step's last row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenState {
    pub(crate) position: usize,
    /// Pinned by the lease, unless it is the slot of its current state.
    pub(crate) slot: StateSlot,
    /// Whether it overwrites the current state.
    pub(crate) in_place: bool,
    /// Whether the step has a single certain row.
    pub(crate) decodes: bool,
}

/// One running sequence.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    pub(crate) table: PageTable,
    pub(crate) namespace: u32,
    /// The session whose turn it serves.
    pub(crate) session: Option<u32>,
    /// Number of indexed full pages from the start.
    pub(crate) n_published: usize,
    /// Positions found computed, until a step confirms that they were skipped.
    pub(crate) unconfirmed: Option<usize>,
    pub(crate) step: StepStates,
    /// Positions in common with an earlier request. The lease could have started there if the state were known.
    pub(crate) branch: usize,
    /// Positions before the last snapshot that decoding left; 0 for none.
    pub(crate) trail: usize,
    is_live: bool,
}

/// All leases. The entry of an ended lease keeps its buffers for reuse.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: Vec<Lease>,
    free: Vec<u32>,
}

impl Leases {
    /// Number of live leases.
    pub(crate) fn len(&self) -> usize {
        self.leases.len() - self.free.len()
    }

    /// The live leases with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Lease)> {
        let numbered = self.leases.iter().enumerate();
        numbered.filter(|(_, lease)| lease.is_live).map(|(index, lease)| (index as u32, lease))
    }

    /// Begins a lease without pages.
    pub(crate) fn insert(&mut self, namespace: u32, session: Option<u32>) -> KvHandle {
        let index = self.free.pop().unwrap_or_else(|| {
            self.leases.push(Lease::default());
            (self.leases.len() - 1) as u32
        });
        let Lease { table, step, .. } = std::mem::take(&mut self.leases[index as usize]);
        self.leases[index as usize] =
            Lease { table, step, namespace, session, is_live: true, ..Lease::default() };
        KvHandle { lease: index }
    }

    /// The lease of a handle.
    pub(crate) fn get(&self, handle: &KvHandle) -> &Lease {
        &self.leases[handle.lease as usize]
    }

    /// The lease of a handle.
    pub(crate) fn get_mut(&mut self, handle: &KvHandle) -> &mut Lease {
        &mut self.leases[handle.lease as usize]
    }

    /// Detaches the leases of a session whose turn ends.
    pub(crate) fn leave_session(&mut self, session: u32) {
        for lease in &mut self.leases {
            lease.session = lease.session.filter(|own| *own != session);
        }
    }

    /// Ends a lease without pages.
    pub(crate) fn remove(&mut self, handle: &KvHandle) {
        self.get_mut(handle).is_live = false;
        self.free.push(handle.lease);
    }
}
