//! How the work of an attention is shared out to the workers.
//!
//! The unit of work is (rows of a span, key head, group of positions). A worker has a contiguous range of units, so it
//! has whole items (rows, key head) but for the first and the last, whose groups it may share with its neighbours.

use crate::cpu::split::TileTable;
use crate::plan::{PAGE_LEN, Span};

/// Positions in a group; groups begin at multiples of it.
pub(crate) const GROUP_LEN: usize = 256;

/// Pages of a group.
const GROUP_PAGES: usize = GROUP_LEN / PAGE_LEN;

/// Query vectors that are worked on together, if one row does not have more.
const TILE_QUERIES: usize = 32;

/// Work per page besides that of the rows that see it, in rows.
const PAGE_OVERHEAD: usize = 1;

/// What the schedule of an attention depends on, besides the spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Query heads per key head.
    pub(crate) heads_per_kv: usize,
    /// Positions that a row sees.
    pub(crate) window: Option<usize>,
}

impl Shape {
    /// Rows in a tile.
    pub(crate) fn tile_rows(self) -> usize {
        (TILE_QUERIES / self.heads_per_kv).max(1)
    }

    /// Query vectors in a tile.
    pub(crate) fn tile_queries(self) -> usize {
        self.tile_rows() * self.heads_per_kv
    }

    /// The first position that the row at `position` sees.
    pub(crate) fn first_visible(self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Some rows of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowTile {
    /// Index of the span.
    pub(crate) span: usize,
    /// Position of the first row.
    pub(crate) position: usize,
    /// The first group that a row sees.
    pub(crate) first_group: usize,
    /// Groups from there to the last row.
    pub(crate) n_groups: usize,
    /// Work of the tiles before.
    work_before: usize,
    /// Pages from the first group to the last row.
    n_pages: usize,
    /// Work of a page.
    page_work: usize,
}

impl RowTile {
    /// Work of a key head.
    fn head_work(&self) -> usize {
        self.n_pages * self.page_work
    }
}

/// A place between two units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Row tile × number of key heads + key head.
    pub(crate) item: usize,
    /// Groups of the item that come before.
    pub(crate) group: usize,
}

/// The units of a step, and who works on them.
#[derive(Debug)]
pub(crate) struct Schedule {
    shape: Shape,
    n_workers: usize,
    n_kv_heads: usize,
    tiles: Vec<RowTile>,
    /// `[n_workers + 1]`: worker `w` has the units between cut `w` and cut `w + 1`.
    cuts: Vec<Cut>,
}

impl Schedule {
    /// With room for `max_tokens`.
    pub(crate) fn new(shape: Shape, max_tokens: usize, n_workers: usize) -> Self {
        let tiles = Vec::with_capacity(max_tokens);
        let cuts = Vec::with_capacity(n_workers + 1);
        Self { shape, n_workers, n_kv_heads: 1, tiles, cuts }
    }

    /// Shares out the rows of `spans`; `table` gets the rectangles of the output, each for the worker of its first unit.
    pub(crate) fn set(&mut self, spans: &[Span], n_kv_heads: usize, table: &mut TileTable) {
        self.n_kv_heads = n_kv_heads;
        self.tiles.clear();
        table.reset(n_kv_heads);
        let mut work = 0;
        for (index, span) in spans.iter().enumerate() {
            let start = span.start as usize;
            let n_rows = span.n_rows as usize;
            for first in (0..n_rows).step_by(self.shape.tile_rows()) {
                let n_tile_rows = self.shape.tile_rows().min(n_rows - first);
                let position = start + first;
                let first_group = self.shape.first_visible(position) / GROUP_LEN;
                let n_pages = (position + n_tile_rows).div_ceil(PAGE_LEN) - first_group * GROUP_PAGES;
                let tile = RowTile {
                    span: index,
                    position,
                    first_group,
                    n_groups: n_pages.div_ceil(GROUP_PAGES),
                    work_before: work,
                    n_pages,
                    page_work: n_tile_rows + PAGE_OVERHEAD,
                };
                work += tile.head_work() * n_kv_heads;
                self.tiles.push(tile);
                table.push_rows(n_tile_rows);
            }
        }
        self.cut(work);
        for cut in &self.cuts[1..] {
            table.push_worker(cut.item + usize::from(0 < cut.group));
        }
    }

    fn cut(&mut self, work: usize) {
        self.cuts.clear();
        let end = Cut { item: self.tiles.len() * self.n_kv_heads, group: 0 };
        for worker in 0..=self.n_workers {
            let target = work * worker / self.n_workers;
            let after = self.tiles.partition_point(|tile| tile.work_before <= target);
            let cut = match after.checked_sub(1) {
                Some(index) if target < work => {
                    let tile = &self.tiles[index];
                    let work = target - tile.work_before;
                    let head_work = tile.head_work();
                    Cut {
                        item: index * self.n_kv_heads + work / head_work,
                        group: work % head_work / (tile.page_work * GROUP_PAGES),
                    }
                }
                _ => end,
            };
            self.cuts.push(cut);
        }
    }

    /// Number of (row tile, key head).
    pub(crate) fn n_items(&self) -> usize {
        self.tiles.len() * self.n_kv_heads
    }

    /// The units of a worker.
    pub(crate) fn units(&self, worker: usize) -> (Cut, Cut) {
        (self.cuts[worker], self.cuts[worker + 1])
    }

    /// The rows of an item, and its key head.
    pub(crate) fn item(&self, item: usize) -> (&RowTile, usize) {
        (&self.tiles[item / self.n_kv_heads], item % self.n_kv_heads)
    }

    /// The groups of `item` that `worker` has.
    pub(crate) fn groups(&self, worker: usize, item: usize) -> std::ops::Range<usize> {
        let (from, to) = self.units(worker);
        let (tile, _) = self.item(item);
        let start = if item < from.item {
            tile.n_groups
        } else if item == from.item {
            from.group
        } else {
            0
        };
        let end = if item < to.item {
            tile.n_groups
        } else if item == to.item {
            to.group
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
    fn groups_that_are_not_full_count_for_less() {
        let shape = Shape { heads_per_kv: 8, window: None };
        let mut schedule = Schedule::new(shape, 512, 2);
        let span = Span { n_rows: 512, n_pages: 32, ..Span::default() };
        schedule.set(&[span], 4, &mut TileTable::default());
        // Rows up to 512 / sqrt(2) see half of the pairs.
        let (tile, _) = schedule.item(schedule.units(1).0.item);
        assert!((356..=364).contains(&tile.position), "{tile:?}");
    }

    proptest! {
        #[test]
        fn every_unit_has_one_worker_and_every_item_one_owner(
            rows in prop::collection::vec((1_u32..70, 0_u32..2000), 1..6),
            (heads_per_kv, n_kv_heads, n_workers) in (1_usize..40, 1_usize..5, 1_usize..6),
            window in prop::option::of(1_usize..600),
        ) {
            let shape = Shape { heads_per_kv, window };
            let mut first_row = 0;
            let spans: Vec<_> = rows.iter().map(|&(n_rows, start)| {
                let span = Span { first_row, n_rows, start, ..Span::default() };
                first_row += n_rows;
                span
            }).collect();
            let mut schedule = Schedule::new(shape, first_row as usize, n_workers);
            let mut table = TileTable::default();
            schedule.set(&spans, n_kv_heads, &mut table);
            for item in 0..table.n_tiles() {
                let (tile, _) = schedule.item(item);
                let mut next = 0;
                for worker in 0..n_workers {
                    let groups = schedule.groups(worker, item);
                    if !groups.is_empty() {
                        prop_assert_eq!(groups.start, next);
                        next = groups.end;
                    }
                }
                prop_assert_eq!(next, tile.n_groups);
                let rows = table.rows(item / n_kv_heads);
                let span = &spans[tile.span];
                prop_assert_eq!(tile.position, span.start as usize + rows.start - span.first_row as usize);
                prop_assert!(rows.end <= (span.first_row + span.n_rows) as usize);
                prop_assert!(tile.first_group * GROUP_LEN <= shape.first_visible(tile.position));
            }
        }
    }
}
