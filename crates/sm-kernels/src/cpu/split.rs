//! Disjoint shares of a matrix that several workers write.
//!
//! The one place where memory written by several workers becomes `&mut [T]`.
#![allow(unsafe_code, reason = "disjoint shares of one allocation become mutable slices of several threads")]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::team::Worker;

/// How the values of a row-major matrix are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Each worker gets some columns of every row, in multiples of this unit.
    Columns(usize),
    /// Each worker gets some whole rows, in multiples of this unit.
    Rows(usize),
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
        // SAFETY: `data` holds `n_rows` rows of `stride` values, borrowed for `'a`; the bit above makes this the only
        // share of this worker, and the shares of the others have the same extents and are disjoint.
        unsafe { Share::of(self.data, (self.n_rows, self.stride), self.by, worker) }
    }
}

/// The rows and columns of a matrix that one worker writes.
#[derive(Debug)]
pub(crate) struct Share<'a, T> {
    data: *mut T,
    stride: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    _data: PhantomData<&'a mut [T]>,
}

impl<T> Share<'_, T> {
    /// The share of `worker` in the `extents = (n_rows, stride)` matrix at `data`.
    ///
    /// # Safety
    /// The matrix is valid for reads and writes for the lifetime chosen; in that time each worker of one team takes
    /// at most one share, all with the same extents and `by`, and nothing else touches the matrix.
    pub(super) unsafe fn of(data: *mut T, extents: (usize, usize), by: By, worker: &Worker<'_>) -> Self {
        let (n_rows, stride) = extents;
        let (rows, columns) = match by {
            By::Columns(unit) => (0..n_rows, worker.share(stride, unit)),
            By::Rows(unit) => (worker.share(n_rows, unit), 0..stride),
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
