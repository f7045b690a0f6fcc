//! How attention is split over workers.
//!
//! ```text
//! positions          0        256       512       768          partitions of 256 positions, at fixed places
//! rows 0..8   head 0 │ ███████ │ ███████ │ ██      │            tile = rows of a span × key head
//! rows 0..8   head 1 │ ███████ │ ███████ │ ██      │
//! rows 8..16  head 0 │ ███████ │ ███████ │ ███     │
//!                              ▲ cut: worker 0 has what comes before, worker 1 what comes after
//! ```
//!
//! Work is cut between any two partitions, so that one long sequence keeps all workers busy. A worker has a contiguous
//! range: whole tiles, except perhaps its first and its last, whose partial results are merged
//! afterwards.
//!
//! Work is counted in pages times the rows that see them, plus an overhead per page. Counting partitions balanced
//! worse: the last one of a row is rarely full.
//!
//! Results do not depend on the cuts: partitions begin at multiples of 256 positions of the sequence, wherever it was
//! chunked, and are merged in order. Cutting at equal shares instead would change the order of additions with the
//! number of workers.
//!
//! Sources: Flash-Decoding (Dao et al. 2023) for splitting over positions; PagedAttention V2 of vLLM for fixed
//! partitions.

use crate::cpu::split::TileTable;
use crate::plan::{PAGE_LEN, Span};

/// Positions of a partition; partitions begin at multiples of it.
pub(crate) const PARTITION_LEN: usize = 256;

/// Pages of a partition.
pub(crate) const PARTITION_PAGES: usize = PARTITION_LEN / PAGE_LEN;

/// Query vectors of a tile, unless one row has more: as many as share the keys and values of a page.
const TILE_QUERIES: usize = 32;

/// Work of a page besides that of the rows that see it, in rows.
const PAGE_OVERHEAD: usize = 1;

/// What the schedule of an attention depends on besides the spans; attentions of one shape share a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttentionShape {
    /// Key heads.
    pub(crate) n_kv_heads: usize,
    /// Query heads per key head.
    pub(crate) heads_per_kv: usize,
    /// Positions that a row sees, itself included.
    pub(crate) window: Option<usize>,
}

impl AttentionShape {
    /// Rows of a tile.
    pub(crate) fn tile_rows(self) -> usize {
        (TILE_QUERIES / self.heads_per_kv).max(1)
    }

    /// Query vectors of a tile.
    pub(crate) fn tile_queries(self) -> usize {
        self.tile_rows() * self.heads_per_kv
    }

    /// The first position that the row at `position` sees.
    pub(crate) fn first_visible(self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// The rows of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowTile {
    /// Index of the span.
    pub(crate) span: usize,
    /// Position of the first row.
    pub(crate) position: usize,
    /// The first partition that a row sees.
    pub(crate) first_partition: usize,
    /// Partitions from there to the last row.
    pub(crate) n_partitions: usize,
    /// Work of all row tiles before this one.
    work_before: usize,
    /// Pages from the first partition to the last row.
    n_pages: usize,
    /// Work of a page.
    page_work: usize,
}

impl RowTile {
    /// Work of one key head.
    fn head_work(&self) -> usize {
        self.n_pages * self.page_work
    }
}

/// A boundary between two workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Row tile × number of key heads + key head.
    pub(crate) tile: usize,
    /// Partitions of the tile before the cut.
    pub(crate) partition: usize,
}

/// The attention tiles of a step, and who works on them.
#[derive(Debug)]
pub(crate) struct AttentionSchedule {
    shape: AttentionShape,
    row_tiles: Vec<RowTile>,
    /// `[n_workers + 1]`: worker `w` has what lies between cut `w` and cut `w + 1`.
    cuts: Vec<Cut>,
}

impl AttentionSchedule {
    /// An empty schedule with room for `max_tokens` and `max_workers`.
    pub(crate) fn new(shape: AttentionShape, max_tokens: usize, max_workers: usize) -> Self {
        let row_tiles = Vec::with_capacity(max_tokens);
        let cuts = Vec::with_capacity(max_workers + 1);
        Self { shape, row_tiles, cuts }
    }

    /// Splits the rows of `spans` over `n_workers`. `table` gets the rectangles of the output; each belongs to the worker that
    /// has the tile's first partition.
    pub(crate) fn set(&mut self, spans: &[Span], n_workers: usize, table: &mut TileTable) {
        let n_kv_heads = self.shape.n_kv_heads;
        self.row_tiles.clear();
        table.reset(n_kv_heads);
        let mut work = 0;
        for (index, span) in spans.iter().enumerate() {
            let start = span.start as usize;
            let n_rows = span.n_rows as usize;
            for first in (0..n_rows).step_by(self.shape.tile_rows()) {
                let n_tile_rows = self.shape.tile_rows().min(n_rows - first);
                let position = start + first;
                let first_partition = self.shape.first_visible(position) / PARTITION_LEN;
                let n_pages = (position + n_tile_rows).div_ceil(PAGE_LEN) - first_partition * PARTITION_PAGES;
                let tile = RowTile {
                    span: index,
                    position,
                    first_partition,
                    n_partitions: n_pages.div_ceil(PARTITION_PAGES),
                    work_before: work,
                    n_pages,
                    page_work: n_tile_rows + PAGE_OVERHEAD,
                };
                work += tile.head_work() * n_kv_heads;
                self.row_tiles.push(tile);
                table.push_rows(n_tile_rows);
            }
        }
        self.cut(work, n_workers);
        for cut in &self.cuts[1..] {
            table.push_worker(cut.tile + usize::from(0 < cut.partition));
        }
    }

    /// Cuts `work` into equal shares, each rounded down to a partition.
    fn cut(&mut self, work: usize, n_workers: usize) {
        self.cuts.clear();
        let end = Cut { tile: self.n_tiles(), partition: 0 };
        for worker in 0..=n_workers {
            let target = work * worker / n_workers;
            let after = self.row_tiles.partition_point(|tile| tile.work_before <= target);
            let cut = match after.checked_sub(1) {
                Some(index) if target < work => {
                    let tile = &self.row_tiles[index];
                    let work = target - tile.work_before;
                    let head_work = tile.head_work();
                    Cut {
                        tile: index * self.shape.n_kv_heads + work / head_work,
                        partition: work % head_work / (tile.page_work * PARTITION_PAGES),
                    }
                }
                _ => end,
            };
            self.cuts.push(cut);
        }
    }

    /// Number of tiles.
    pub(crate) fn n_tiles(&self) -> usize {
        self.row_tiles.len() * self.shape.n_kv_heads
    }

    /// Where the work of a worker begins and ends.
    pub(crate) fn cuts(&self, worker: usize) -> (Cut, Cut) {
        (self.cuts[worker], self.cuts[worker + 1])
    }

    /// The rows of a tile, and its key head.
    pub(crate) fn tile(&self, tile: usize) -> (&RowTile, usize) {
        (&self.row_tiles[tile / self.shape.n_kv_heads], tile % self.shape.n_kv_heads)
    }

    /// The partitions of `tile` that `worker` has.
    pub(crate) fn partitions(&self, worker: usize, tile: usize) -> std::ops::Range<usize> {
        let (from, to) = self.cuts(worker);
        let (row_tile, _) = self.tile(tile);
        let start = if tile < from.tile {
            row_tile.n_partitions
        } else if tile == from.tile {
            from.partition
        } else {
            0
        };
        let end = if tile < to.tile {
            row_tile.n_partitions
        } else if tile == to.tile {
            to.partition
        } else {
            0
        };
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn partial_partitions_count_for_less() {
        let shape = AttentionShape { n_kv_heads: 4, heads_per_kv: 8, window: None };
        let mut schedule = AttentionSchedule::new(shape, 512, 2);
        let span = Span { n_rows: 512, n_pages: 32, ..Span::default() };
        schedule.set(&[span], 2, &mut TileTable::default());
        // Rows up to 512 / sqrt(2) see half of the pairs.
        let (tile, _) = schedule.tile(schedule.cuts(1).0.tile);
        assert!((356..=364).contains(&tile.position), "{tile:?}");
    }

    proptest! {
        #[test]
        fn every_partition_has_one_worker_and_every_tile_one_owner(
            rows in prop::collection::vec((1_u32..70, 0_u32..2000), 1..6),
            (heads_per_kv, n_kv_heads, n_workers) in (1_usize..40, 1_usize..5, 1_usize..6),
            window in prop::option::of(1_usize..600),
        ) {
            let shape = AttentionShape { n_kv_heads, heads_per_kv, window };
            let mut first_row = 0;
            let spans: Vec<_> = rows.iter().map(|&(n_rows, start)| {
                let span = Span { first_row, n_rows, start, ..Span::default() };
                first_row += n_rows;
                span
            }).collect();
            let mut schedule = AttentionSchedule::new(shape, first_row as usize, n_workers);
            let mut table = TileTable::default();
            schedule.set(&spans, n_workers, &mut table);
            for tile in 0..table.n_tiles() {
                let (row_tile, _) = schedule.tile(tile);
                let mut next = 0;
                for worker in 0..n_workers {
                    let partitions = schedule.partitions(worker, tile);
                    if !partitions.is_empty() {
                        prop_assert_eq!(partitions.start, next);
                        next = partitions.end;
                    }
                }
                prop_assert_eq!(next, row_tile.n_partitions);
                let rows = table.rows(tile / n_kv_heads);
                let span = &spans[row_tile.span];
                prop_assert_eq!(row_tile.position, span.start as usize + rows.start - span.first_row as usize);
                prop_assert!(rows.end <= (span.first_row + span.n_rows) as usize);
                prop_assert!(row_tile.first_partition * PARTITION_LEN <= shape.first_visible(row_tile.position));
            }
        }
    }
}
