//! Disjoint shares of a matrix that several workers write.
//!
//! ```text
//! By::Columns(32)              By::Rows(1)             By::Tiles
//! ┌────────┬────────┐          ┌─────────────────┐     ┌─────┬─────┬─────┐
//! │        │        │          │ worker 0        │     │  0  │  0  │  0  │   row tiles of any height
//! │   0    │   1    │          ├─────────────────┤     ├─────┼─────┼─────┤   × columns of one width;
//! │        │        │          │ worker 1        │     │  0  │  1  │  1  │   a range of tiles for
//! └────────┴────────┘          └─────────────────┘     └─────┴─────┴─────┘   each worker
//!  products                     norms, embedding        attention, KV pages
//! ```
//!
//! The only file in which memory that several workers write becomes `&mut [T]`: kernels get slices and no raw pointers.
//! What makes that sound is checked at run time, once per share: it has the extents of the matrix, and is taken at most
//! once.
#![allow(unsafe_code, reason = "disjoint shares of one allocation become mutable slices of several threads")]

#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::team::{Part, Worker};

/// How a row-major matrix is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Into ranges of columns that begin at multiples of this number.
    Columns(usize),
    /// Into ranges of rows that begin at multiples of this number.
    Rows(usize),
    /// Into the rectangles of a table of page runs: the rows that go to one page, and the columns of one key head.
    PageRuns {
        /// Which of the step's tables of page runs.
        runs: usize,
        /// Columns of a tile.
        tile_cols: usize,
    },
    /// Into the rectangles of a schedule of attention.
    AttentionTiles {
        /// Which of the step's schedules.
        schedule: usize,
        /// Columns of a tile.
        tile_cols: usize,
    },
}

/// A row-major matrix `[rows, stride]`, split between the workers of a team.
#[derive(Debug)]
pub(crate) struct Split<'a, T> {
    data: *mut T,
    n_rows: usize,
    stride: usize,
    by: By,
    n_workers: usize,
    taken: AtomicUsize,
    _data: PhantomData<&'a mut [T]>,
}

// SAFETY: `share` hands worker `i` of `n_workers` the `i`th of `n_workers` disjoint ranges, at most once each;
// `n_workers` is fixed, so that workers of teams of other sizes cannot overlap.
unsafe impl<T: Send> Sync for Split<'_, T> {}

impl<'a, T> Split<'a, T> {
    /// Splits `data`, rows of `stride` values, between `n_workers`.
    ///
    /// # Panics
    /// If `data` is not whole rows, or there are more workers than a word has bits.
    pub(crate) fn new(data: &'a mut [T], stride: usize, by: By, n_workers: usize) -> Self {
        assert!(0 < stride && data.len().is_multiple_of(stride), "{} values in rows of {stride}", data.len());
        assert!(n_workers <= usize::BITS as usize, "{n_workers} workers");
        Self {
            data: data.as_mut_ptr(),
            n_rows: data.len() / stride,
            stride,
            by,
            n_workers,
            taken: AtomicUsize::new(0),
            _data: PhantomData,
        }
    }

    /// The share of `worker`.
    ///
    /// # Panics
    /// If the worker already took its share, or belongs to a team of another size.
    pub(crate) fn share(&self, worker: &Worker<'_>) -> Share<'a, T> {
        assert_eq!(worker.count(), self.n_workers, "split for another team");
        let bit = 1_usize << worker.index();
        let taken = self.taken.fetch_or(bit, Ordering::Relaxed);
        assert!(taken & bit == 0, "worker {} took its share twice", worker.index());
        let part = Part { index: worker.index(), count: worker.count() };
        // SAFETY: `data` has `n_rows` rows of `stride` values, borrowed for `'a`; the bit above makes this the only
        // share of this worker, and those of the others have the same extents and are disjoint.
        unsafe { Share::of(self.data, self.n_rows, self.stride, self.by, part) }
    }
}

/// The rows and columns of a matrix that belong to one part.
#[derive(Debug)]
pub(crate) struct Share<'a, T> {
    data: *mut T,
    stride: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    _data: PhantomData<&'a mut [T]>,
}

impl<T> Share<'_, T> {
    /// The share of `part` in the `[n_rows, stride]` matrix at `data`.
    ///
    /// # Safety
    /// The matrix is valid for reads and writes for the lifetime chosen; in that time the share of each part is made at
    /// most once, all with the same extents, `by` and count of parts, and nothing else touches the matrix.
    pub(super) unsafe fn of(data: *mut T, n_rows: usize, stride: usize, by: By, part: Part) -> Self {
        let (rows, columns) = match by {
            By::Columns(granularity) => (0..n_rows, part.of(stride, granularity)),
            By::Rows(granularity) => (part.of(n_rows, granularity), 0..stride),
            By::PageRuns { .. } | By::AttentionTiles { .. } => {
                panic!("tiles are not a share of rows or columns")
            }
        };
        Self { data, stride, rows, columns, _data: PhantomData }
    }

    /// The rows of this share.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns of this share.
    pub(crate) fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// This share's columns of a row, to read.
    ///
    /// # Panics
    /// If `row` belongs to another share.
    pub(crate) fn row(&mut self, row: usize) -> &[T] {
        self.row_mut(row)
    }

    /// This share's columns of a row.
    ///
    /// # Panics
    /// If `row` belongs to another share.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        assert!(self.rows.contains(&row), "row {row} is not in the share {:?}", self.rows);
        // SAFETY: `row` and `columns` lie within the matrix, by the contract of `of`.
        let start = unsafe { self.data.add(row * self.stride + self.columns.start) };
        // SAFETY: as above, the columns lie in this row, and no other share covers them; `&mut self` makes this the
        // only slice of this share.
        unsafe { std::slice::from_raw_parts_mut(start, self.columns.len()) }
    }

    /// All values of a share of whole rows, row-major.
    ///
    /// # Panics
    /// If the share is one of columns and has more than one row.
    pub(crate) fn all_mut(&mut self) -> &mut [T] {
        assert!(
            self.columns.len() == self.stride || self.rows.len() <= 1,
            "columns {:?} of several rows are not contiguous",
            self.columns
        );
        if self.rows.is_empty() {
            return &mut [];
        }
        // SAFETY: the first row and `columns` lie within the matrix, by the contract of `of`.
        let start = unsafe { self.data.add(self.rows.start * self.stride + self.columns.start) };
        // SAFETY: the rows are whole, or there is only one, so the values are contiguous; else as in `row_mut`.
        unsafe { std::slice::from_raw_parts_mut(start, self.rows.len() * self.columns.len()) }
    }
}

/// Rectangles of a matrix, which is cut into row tiles and, each of them, into column tiles. Tile `t * n_col_tiles + c`
/// is column tile `c` of row tile `t`; each worker has a contiguous range of tiles.
#[derive(Debug, Default)]
pub(crate) struct TileTable {
    n_col_tiles: usize,
    row_ends: Vec<usize>,
    worker_ends: Vec<usize>,
}

impl TileTable {
    /// An empty table, with room for `n_row_tiles` and `n_workers`.
    pub(crate) fn with_capacity(n_row_tiles: usize, n_workers: usize) -> Self {
        let row_ends = Vec::with_capacity(n_row_tiles);
        let worker_ends = Vec::with_capacity(n_workers);
        Self { n_col_tiles: 1, row_ends, worker_ends }
    }

    /// Removes all tiles. New row tiles have `n_col_tiles` column tiles.
    pub(crate) fn reset(&mut self, n_col_tiles: usize) {
        self.n_col_tiles = n_col_tiles;
        self.row_ends.clear();
        self.worker_ends.clear();
    }

    /// Appends a row tile of the next `n_rows` rows.
    pub(crate) fn push_rows(&mut self, n_rows: usize) {
        self.row_ends.push(self.n_rows() + n_rows);
    }

    /// Gives the next worker the tiles up to `end`.
    ///
    /// # Panics
    /// If they belong to an earlier worker or do not exist.
    pub(crate) fn push_worker(&mut self, end: usize) {
        let start = self.worker_ends.last().copied().unwrap_or(0);
        assert!(start <= end && end <= self.n_tiles(), "tiles {start}..{end} of {}", self.n_tiles());
        self.worker_ends.push(end);
    }

    /// Gives each of `n_workers` the same number of tiles, up to one.
    pub(crate) fn share_evenly(&mut self, n_workers: usize) {
        for worker in 1..=n_workers {
            self.push_worker(self.n_tiles() * worker / n_workers);
        }
    }

    /// Column tiles of a row tile.
    pub(crate) fn n_col_tiles(&self) -> usize {
        self.n_col_tiles
    }

    /// Number of row tiles.
    pub(crate) fn n_row_tiles(&self) -> usize {
        self.row_ends.len()
    }

    /// Number of tiles.
    pub(crate) fn n_tiles(&self) -> usize {
        self.row_ends.len() * self.n_col_tiles
    }

    fn n_rows(&self) -> usize {
        self.row_ends.last().copied().unwrap_or(0)
    }

    /// The rows of a row tile.
    pub(crate) fn rows(&self, row_tile: usize) -> Range<usize> {
        let start = if row_tile == 0 { 0 } else { self.row_ends[row_tile - 1] };
        start..self.row_ends[row_tile]
    }

    /// The tiles of a worker.
    ///
    /// # Panics
    /// If the table was split between another number of workers.
    pub(crate) fn of_worker(&self, worker: &Worker<'_>) -> Range<usize> {
        assert_eq!(worker.count(), self.worker_ends.len(), "tiles for another team");
        let index = worker.index();
        let start = if index == 0 { 0 } else { self.worker_ends[index - 1] };
        start..self.worker_ends[index]
    }
}

/// The tiles of a matrix that one worker writes.
#[derive(Debug)]
pub(crate) struct TileShare<'a, T> {
    data: *mut T,
    stride: usize,
    tile_cols: usize,
    table: &'a TileTable,
    tiles: Range<usize>,
    _data: PhantomData<&'a mut [T]>,
}

impl<'a, T> TileShare<'a, T> {
    /// The tiles of `worker` in the `[n_rows, stride]` matrix at `data`, `tile_cols` columns wide; the last column tile
    /// goes on to the end of the row.
    ///
    /// # Panics
    /// If the table has other extents.
    ///
    /// # Safety
    /// As for [`Share::of`], with the workers of one team for parts, and the same `table` and `tile_cols` for all.
    pub(super) unsafe fn of(
        data: *mut T,
        n_rows: usize,
        stride: usize,
        table: &'a TileTable,
        tile_cols: usize,
        worker: &Worker<'_>,
    ) -> Self {
        assert_eq!(table.n_rows(), n_rows, "tiles of other rows");
        assert!(
            tile_cols * table.n_col_tiles <= stride,
            "{} tiles of {tile_cols} columns in rows of {stride}",
            table.n_col_tiles
        );
        Self { data, stride, tile_cols, table, tiles: table.of_worker(worker), _data: PhantomData }
    }

    /// The columns of a tile in a row of the matrix.
    ///
    /// # Panics
    /// If the tile belongs to another worker, or the row to another tile.
    pub(crate) fn row_mut(&mut self, tile: usize, row: usize) -> &mut [T] {
        assert!(self.tiles.contains(&tile), "tile {tile} is not in the share {:?}", self.tiles);
        let row_tile = tile / self.table.n_col_tiles;
        let col_tile = tile % self.table.n_col_tiles;
        assert!(self.table.rows(row_tile).contains(&row), "row {row} is not in tile {tile}");
        let start = col_tile * self.tile_cols;
        let is_last = col_tile + 1 == self.table.n_col_tiles;
        let end = if is_last { self.stride } else { start + self.tile_cols };
        // SAFETY: row and columns lie within the matrix, by the checks above and in `of`.
        let data = unsafe { self.data.add(row * self.stride + start) };
        // SAFETY: as above; tiles are disjoint, each belongs to one worker, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(data, end - start) }
    }
}
