//! Disjoint shares of a matrix that several workers write.
//!
//! The one place where memory written by several workers becomes `&mut [T]`.
#![allow(unsafe_code, reason = "disjoint shares of one allocation become mutable slices of several threads")]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::team::{Worker, share_of};

/// How the values of a row-major matrix are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Each worker gets some columns of every row, in multiples of this unit.
    Columns(usize),
    /// Each worker gets some whole rows, in multiples of this unit.
    Rows(usize),
    /// Each worker gets some rectangles of the step's table with this index.
    Tiles {
        /// Which table.
        table: usize,
        /// Columns of a unit.
        unit: usize,
    },
}

/// One of the parts that a matrix is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which one.
    pub(crate) index: usize,
    /// Of how many.
    pub(crate) count: usize,
}

impl Part {
    fn of(self, n: usize, unit: usize) -> Range<usize> {
        share_of(self.index, self.count, n, unit)
    }
}

/// A row-major matrix `[rows, stride]`, shared out to the workers of a team.
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
    /// Shares out `data`, rows of `stride` values, to a team of `n_workers`.
    ///
    /// # Panics
    /// If the data are no whole rows, or the team has more workers than a word has bits.
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
        // SAFETY: `data` holds `n_rows` rows of `stride` values, borrowed for `'a`; the bit above makes this the only
        // share of this worker, and the shares of the others have the same extents and are disjoint.
        unsafe { Share::of(self.data, (self.n_rows, self.stride), self.by, part) }
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
    /// The share of `part` in the `extents = (n_rows, stride)` matrix at `data`.
    ///
    /// # Safety
    /// The matrix is valid for reads and writes for the lifetime chosen; in that time the share of each part is made at
    /// most once, all with the same extents, `by` and count of parts, and nothing else touches the matrix.
    pub(super) unsafe fn of(data: *mut T, extents: (usize, usize), by: By, part: Part) -> Self {
        let (n_rows, stride) = extents;
        let (rows, columns) = match by {
            By::Columns(unit) => (0..n_rows, part.of(stride, unit)),
            By::Rows(unit) => (part.of(n_rows, unit), 0..stride),
            By::Tiles { .. } => panic!("tiles are no share of rows or columns"),
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
            "columns {:?} are no slice",
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

/// Rectangles of a matrix: its rows are cut into tiles and its columns into units. Tile `t * n_units + u` is unit `u`
/// of row tile `t`; each worker has a contiguous range of tiles.
#[derive(Debug, Default)]
pub(crate) struct TileTable {
    n_units: usize,
    row_ends: Vec<usize>,
    worker_ends: Vec<usize>,
}

impl TileTable {
    /// An empty table, with room for `n_row_tiles` and `n_workers`.
    pub(crate) fn with_capacity(n_row_tiles: usize, n_workers: usize) -> Self {
        let row_ends = Vec::with_capacity(n_row_tiles);
        let worker_ends = Vec::with_capacity(n_workers);
        Self { n_units: 1, row_ends, worker_ends }
    }

    /// Forgets all tiles; the new ones have `n_units` per row tile.
    pub(crate) fn reset(&mut self, n_units: usize) {
        self.n_units = n_units;
        self.row_ends.clear();
        self.worker_ends.clear();
    }

    /// Appends a tile of the next `n_rows` rows.
    pub(crate) fn push_rows(&mut self, n_rows: usize) {
        self.row_ends.push(self.n_rows() + n_rows);
    }

    /// Gives the next worker the tiles up to `end`.
    ///
    /// # Panics
    /// If they belong to an earlier worker, or are not there.
    pub(crate) fn push_worker(&mut self, end: usize) {
        let start = self.worker_ends.last().copied().unwrap_or(0);
        assert!(start <= end && end <= self.n_tiles(), "tiles {start}..{end} of {}", self.n_tiles());
        self.worker_ends.push(end);
    }

    /// Gives each of `n_workers` as many tiles as the others.
    pub(crate) fn share_evenly(&mut self, n_workers: usize) {
        for worker in 1..=n_workers {
            self.push_worker(self.n_tiles() * worker / n_workers);
        }
    }

    /// Units of columns.
    pub(crate) fn n_units(&self) -> usize {
        self.n_units
    }

    /// Number of row tiles.
    pub(crate) fn n_row_tiles(&self) -> usize {
        self.row_ends.len()
    }

    /// Number of rectangles.
    pub(crate) fn n_tiles(&self) -> usize {
        self.row_ends.len() * self.n_units
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
    /// If the table was shared out to another number of workers.
    pub(crate) fn of_worker(&self, worker: &Worker<'_>) -> Range<usize> {
        assert_eq!(worker.count(), self.worker_ends.len(), "tiles for another team");
        let index = worker.index();
        let start = if index == 0 { 0 } else { self.worker_ends[index - 1] };
        start..self.worker_ends[index]
    }
}

/// The rectangles of a matrix that one worker writes.
#[derive(Debug)]
pub(crate) struct TileShare<'a, T> {
    data: *mut T,
    stride: usize,
    unit: usize,
    table: &'a TileTable,
    tiles: Range<usize>,
    _data: PhantomData<&'a mut [T]>,
}

impl<'a, T> TileShare<'a, T> {
    /// The tiles of `worker` in the `extents = (n_rows, stride)` matrix at `data`, in units of `unit` columns; the
    /// last unit goes on to the end of the row.
    ///
    /// # Panics
    /// If the table has other extents.
    ///
    /// # Safety
    /// As for [`Share::of`], with workers of one team for parts, and the same `table` and `unit` for all.
    pub(super) unsafe fn of(
        data: *mut T,
        extents: (usize, usize),
        (table, unit): (&'a TileTable, usize),
        worker: &Worker<'_>,
    ) -> Self {
        let (n_rows, stride) = extents;
        assert_eq!(table.n_rows(), n_rows, "tiles of other rows");
        assert!(unit * table.n_units <= stride, "{} units of {unit} in rows of {stride}", table.n_units);
        Self { data, stride, unit, table, tiles: table.of_worker(worker), _data: PhantomData }
    }

    /// The columns of a tile in a row of the matrix.
    ///
    /// # Panics
    /// If the tile belongs to another worker, or the row to another tile.
    pub(crate) fn row_mut(&mut self, tile: usize, row: usize) -> &mut [T] {
        assert!(self.tiles.contains(&tile), "tile {tile} is not in the share {:?}", self.tiles);
        let row_tile = tile / self.table.n_units;
        let unit = tile % self.table.n_units;
        assert!(self.table.rows(row_tile).contains(&row), "row {row} is not in tile {tile}");
        let start = unit * self.unit;
        let end = if unit + 1 == self.table.n_units { self.stride } else { start + self.unit };
        // SAFETY: row and columns lie within the matrix, by the checks above and in `of`.
        let data = unsafe { self.data.add(row * self.stride + start) };
        // SAFETY: as above; tiles are disjoint, each belongs to one worker, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(data, end - start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::team::Team;

    #[test]
    fn every_value_belongs_to_one_share() {
        for by in [By::Columns(8), By::Columns(1), By::Rows(1), By::Rows(2)] {
            for (n_rows, stride) in [(1, 8), (3, 16), (5, 24), (0, 4)] {
                for n_workers in 1..5 {
                    let mut data = vec![0; n_rows * stride];
                    let split = Split::new(&mut data, stride, by, n_workers);
                    let add_one = |worker: &Worker<'_>| {
                        let mut share = split.share(worker);
                        for row in share.rows() {
                            share.row_mut(row).iter_mut().for_each(|value| *value += 1);
                        }
                        worker.barrier()
                    };
                    Team::new(n_workers).unwrap().run(add_one).unwrap();
                    assert!(
                        data.iter().all(|value| *value == 1),
                        "{by:?} {n_rows} x {stride}, {n_workers} workers"
                    );
                }
            }
        }
    }

    #[test]
    fn a_share_can_be_taken_once() {
        let mut data = [0.0_f32; 8];
        let split = Split::new(&mut data, 8, By::Columns(1), 1);
        let mut team = Team::new(1).unwrap();
        let result = team.run(|worker| {
            let _first = split.share(worker);
            let _second = split.share(worker);
            Ok(())
        });
        assert_eq!(result.unwrap_err().message, "worker 0 took its share twice");
    }
}
