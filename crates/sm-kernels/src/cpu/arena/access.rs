//! Who may touch what, phase by phase.
//!
//! ```text
//! phase 0                 barrier    phase 1                 barrier
//! reads  A                   │       reads  B                   │
//! writes B by columns        │       writes C by rows           │
//!   worker 0: B[.., 0..32]   │         worker 0: C[0..4, ..]     │
//!   worker 1: B[.., 32..64]  │         worker 1: C[4..8, ..]     │
//! ```
//!
//! A step is a list of phases with a barrier after each. Every phase has a [`Footprint`], made once: what it reads and
//! what it writes do not overlap, and what it writes is split between the workers by a rule that belongs to the
//! footprint. So the slices that [`Access`] gives out for the length of a phase never alias, and ops need neither locks
//! nor `unsafe`.
#![allow(unsafe_code, reason = "regions of one allocation become slices of several threads")]

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use bytemuck::Pod;

use super::parts::ProductSize;
use super::{Arena, Extents, Region};
use crate::cpu::claims::{ClaimedParts, Claims};
use crate::cpu::kv_element::KvElement;
use crate::cpu::kv_pool::{KvPages, KvPool, KvShare, WrittenPages};
use crate::cpu::split::{By, Share, Split, TileShare, TileTable};
use crate::cpu::team::{Part, Team, Worker, WorkerPanic};

/// How a phase uses the KV pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KvUse {
    /// Not at all.
    #[default]
    None,
    /// Reads the pages of a layer.
    Read {
        /// Which layer.
        layer: usize,
    },
    /// Writes the step's pages of a layer.
    Write {
        /// Which layer.
        layer: usize,
        /// The table of page runs by which they are shared out.
        runs: usize,
    },
}

/// What a phase reads and writes.
#[derive(Debug, Default)]
pub(crate) struct Footprint {
    reads: Vec<Range<usize>>,
    writes: Vec<(Range<usize>, By)>,
    kv: KvUse,
    /// Set if the phase can be cut into more parts than there are workers.
    size: Option<ProductSize>,
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Footprint {
    /// Adds a region that all workers read, in steps within `limits`.
    ///
    /// # Panics
    /// If the phase writes it.
    pub(crate) fn read<T: Pod>(mut self, limits: Extents, region: Region<T>) -> Self {
        let bytes = region.bytes(limits);
        assert!(!self.writes.iter().any(|(other, _)| overlap(other, &bytes)), "{region:?} is written");
        self.reads.push(bytes);
        self
    }

    /// Adds a region that is split between the workers, in steps within `limits`.
    ///
    /// # Panics
    /// If the phase reads or writes it otherwise.
    pub(crate) fn write<T: Pod>(mut self, limits: Extents, region: Region<T>, by: By) -> Self {
        let bytes = region.bytes(limits);
        assert!(!self.reads.iter().any(|other| overlap(other, &bytes)), "{region:?} is read");
        assert!(!self.writes.iter().any(|(other, _)| overlap(other, &bytes)), "{region:?} is written twice");
        assert!(self.writes.len() < u64::BITS as usize, "too many regions are written");
        self.writes.push((bytes, by));
        self
    }

    /// Allows the phase to be cut into more parts than there are workers.
    ///
    /// # Panics
    /// If it writes anything but columns.
    pub(crate) fn divisible(mut self, size: ProductSize) -> Self {
        let is_columns = |(_, by): &(_, By)| matches!(by, By::Columns(_));
        assert!(
            self.writes.iter().all(is_columns) && self.kv == KvUse::None,
            "only columns can be cut into parts"
        );
        self.size = Some(size);
        self
    }

    /// Sets the use of the KV pages.
    pub(crate) fn kv(mut self, kv: KvUse) -> Self {
        self.kv = kv;
        self
    }
}

/// How the rows and pages of one step are split between the workers.
#[derive(Debug)]
pub(crate) struct StepShares<'a> {
    /// The rows of the step.
    pub(crate) extents: Extents,
    /// For each number of key heads, a table whose row tiles are the rows that go to one page and whose units are the heads.
    pub(crate) page_runs: &'a [TileTable],
    /// For each schedule of attention, the rectangles of its output.
    pub(crate) attention_tiles: &'a [TileTable],
    /// The pages that the step writes, one for each row tile of the page runs.
    pub(crate) written: &'a WrittenPages,
}

/// The memory of steps: activations and KV pages.
#[derive(Debug)]
pub(crate) struct StepMemory {
    /// The activations.
    pub(crate) arena: Arena,
    /// The pages.
    pub(crate) kv: KvPool,
    claims: Claims,
}

impl StepMemory {
    /// Memory for steps of up to `n_workers`.
    pub(crate) fn new(arena: Arena, kv: KvPool, n_workers: usize) -> Self {
        Self { arena, kv, claims: Claims::new(n_workers) }
    }

    /// Runs `task` for each phase on the workers that the step is shared out to, with a barrier after each phase. Worker
    /// `w` gets `locals[w]`, and computes all parts that the iterator gives it. Returns the longest time that a worker
    /// waited at barriers.
    ///
    /// # Errors
    /// If a worker panics.
    ///
    /// # Panics
    /// If the step exceeds the arena's limits, or the memory was made for fewer workers.
    pub(crate) fn run<P, L, F>(
        &mut self,
        team: &mut Team,
        locals: &mut [L],
        shares: &StepShares<'_>,
        phases: &[P],
        task: F,
    ) -> Result<Duration, WorkerPanic>
    where
        P: AsRef<Footprint> + Sync,
        L: Send,
        F: Fn(&P, WorkerParts<'_>, &mut L) + Sync,
    {
        let n_workers = shares.extents.n_workers;
        assert!(n_workers <= self.claims.max_workers(), "memory for fewer than {n_workers} workers");
        self.claims.reset();
        let locals = Split::new(&mut locals[..n_workers], 1, By::Rows(1), n_workers);
        let step = shares.extents;
        let limits = self.arena.limits();
        assert!(
            step.n_tokens <= limits.n_tokens
                && step.n_outputs <= limits.n_outputs
                && step.n_workers <= limits.n_workers,
            "{step:?} exceeds {limits:?}"
        );
        let memory: &Self = self;
        team.run_on(n_workers, |worker| {
            let mut local = locals.share(worker);
            let local = &mut local.all_mut()[0];
            for (index, phase) in phases.iter().enumerate() {
                let footprint = phase.as_ref();
                let n_own = footprint.size.map_or(1, |size| size.parts_per_worker(step, n_workers));
                let claimed = memory.claims.of_phase(index, worker, n_own);
                task(phase, WorkerParts { memory, shares, footprint, worker, claimed }, local);
                worker.barrier()?;
            }
            Ok(())
        })
    }
}

/// The parts of a phase that one worker computes, claimed one by one.
#[derive(Debug)]
pub(crate) struct WorkerParts<'a> {
    memory: &'a StepMemory,
    shares: &'a StepShares<'a>,
    footprint: &'a Footprint,
    worker: &'a Worker<'a>,
    claimed: ClaimedParts<'a>,
}

impl<'a> Iterator for WorkerParts<'a> {
    type Item = Access<'a>;

    fn next(&mut self) -> Option<Access<'a>> {
        let Self { memory, shares, footprint, worker, .. } = *self;
        let part = self.claimed.next()?;
        Some(Access { memory, shares, footprint, worker, part, taken: Cell::new(0) })
    }
}

/// What one worker may touch in one part of a phase.
///
/// Why the slices do not alias: a value exists only inside [`StepMemory::run`], which holds the memory exclusively, has
/// all workers of one call go through the same phases, and separates them by barriers. Within a phase all workers use
/// the same footprint, shares and number of parts: regions read are not written, regions written are disjoint, each
/// part goes to one worker, and its share of a region is taken at most once.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    memory: &'a StepMemory,
    shares: &'a StepShares<'a>,
    footprint: &'a Footprint,
    worker: &'a Worker<'a>,
    part: Part,
    taken: Cell<u64>,
}

impl Access<'_> {
    /// The worker.
    pub(crate) fn worker(&self) -> &Worker<'_> {
        self.worker
    }

    /// Rows of a region in this step.
    pub(crate) fn n_rows<T: Pod>(&self, region: Region<T>) -> usize {
        region.rows.in_step(self.shares.extents)
    }

    /// A table of page runs of the step.
    #[cfg(test)]
    pub(super) fn page_runs(&self, runs: usize) -> &TileTable {
        &self.shares.page_runs[runs]
    }

    /// The values of a region that the phase reads.
    ///
    /// # Panics
    /// If it is not in the footprint.
    pub(crate) fn read<T: Pod + Sync>(&self, region: Region<T>) -> &[T] {
        let arena = &self.memory.arena;
        let bytes = region.bytes(arena.limits());
        assert!(self.footprint.reads.contains(&bytes), "{region:?} is not read in this phase");
        let start = arena.start_of(region).cast_const();
        // SAFETY: the values are inside the arena and initialised, and no worker writes them in this phase.
        unsafe { std::slice::from_raw_parts(start, region.len(self.shares.extents)) }
    }

    /// This part's rows or columns of a region that the phase writes.
    ///
    /// # Panics
    /// If it is not in the footprint, or was taken before.
    pub(crate) fn share<T: Pod + Send>(&self, region: Region<T>) -> Share<'_, T> {
        let by = self.take(region);
        let start = self.memory.arena.start_of(region);
        // SAFETY: the region is inside the arena; all workers of the team use the same extents, rule and number of
        // parts in this phase, no part is given twice, and the share of this one is taken for the first time.
        unsafe { Share::of(start, self.n_rows(region), region.stride(), by, self.part) }
    }

    /// This worker's tiles of a region that the phase writes by tiles, and the table.
    ///
    /// # Panics
    /// If it is not in the footprint, is not split by tiles, or was taken before.
    pub(crate) fn tiles<T: Pod + Send>(&self, region: Region<T>) -> TileShare<'_, T> {
        let (table, tile_cols) = match self.take(region) {
            By::PageRuns { runs, tile_cols } => (&self.shares.page_runs[runs], tile_cols),
            By::AttentionTiles { schedule, tile_cols } => (&self.shares.attention_tiles[schedule], tile_cols),
            By::Rows(_) | By::Columns(_) => panic!("{region:?} is not written by tiles"),
        };
        let start = self.memory.arena.start_of(region);
        // SAFETY: as in `share`; the table is the same for all workers.
        unsafe { TileShare::of(start, self.n_rows(region), region.stride(), table, tile_cols, self.worker) }
    }

    fn take<T: Pod>(&self, region: Region<T>) -> By {
        let bytes = region.bytes(self.memory.arena.limits());
        let found = self.footprint.writes.iter().position(|(other, _)| *other == bytes);
        let index = found.unwrap_or_else(|| panic!("{region:?} is not written in this phase"));
        let bit = 1 << index;
        assert!(self.taken.replace(self.taken.get() | bit) & bit == 0, "{region:?} was taken before");
        self.footprint.writes[index].1
    }

    /// The pages of the layer that the phase reads.
    ///
    /// # Panics
    /// If it reads none.
    pub(crate) fn kv_pages<E: KvElement>(&self) -> KvPages<'_, E> {
        let KvUse::Read { layer } = self.footprint.kv else { panic!("no pages are read in this phase") };
        // SAFETY: no worker writes pages in this phase.
        unsafe { self.memory.kv.pages(layer) }
    }

    /// This worker's share of the pages that the step writes.
    ///
    /// # Panics
    /// If the phase writes none, or the share was taken before.
    pub(crate) fn kv_share<E: KvElement>(&self) -> KvShare<'_, E> {
        let KvUse::Write { layer, runs } = self.footprint.kv else {
            panic!("no pages are written in this phase")
        };
        let bit = 1 << (u64::BITS - 1);
        assert!(self.taken.replace(self.taken.get() | bit) & bit == 0, "the pages were taken before");
        let table = &self.shares.page_runs[runs];
        // SAFETY: no worker reads pages in this phase; the table is the same for all workers, and this worker takes its
        // share for the first time.
        unsafe { self.memory.kv.share(layer, self.shares.written, table, self.worker) }
    }
}
