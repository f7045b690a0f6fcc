//! The results of some rows and outputs, on their way from register tiles to a sink.
//!
//! ```text
//!            lead (16)   columns of the strip        slack (32)
//! row 0    │ ........ │ ───────────────────────── │ ............ │
//! row 1    │ ........ │ ───────────────────────── │ ............ │
//! ```
//!
//! Panels begin at multiples of 16 rows of a tensor, strips at any row of the matrix: the first panel may begin before the
//! strip and the last end after it. Tiles store whole vectors all the same, and lead and slack take what does not belong.

use std::ops::Range;

use crate::cpu::isa::{Isa, LANES};

/// Columns of a strip of unpacked panels: a pair of panels.
pub(super) const PAIR_LEN: usize = 2 * LANES;
/// Most rows of a strip: several register tiles whose results stay in L1.
pub(super) const STRIP_ROWS: usize = 48;
/// Most results of a strip.
pub(super) const STRIP_LEN: usize = STRIP_ROWS * PAIR_LEN;
/// Values of a row before its first result.
const LEAD: usize = LANES;
/// Values of a row besides its results.
const SLACK: usize = LEAD + PAIR_LEN;
/// Values of the largest strip.
pub(super) const STRIP_VALUES: usize = STRIP_LEN + STRIP_ROWS * SLACK;

/// Values from one row of a strip to the next.
#[inline(always)]
fn stride(columns: &Range<usize>) -> usize {
    columns.len() + SLACK
}

/// Where the results of a row begin in the values of a strip.
#[inline(always)]
pub(super) fn first_value(columns: &Range<usize>, row: usize) -> usize {
    row * stride(columns) + LEAD
}

/// A strip: `values` is `[rows, columns.len() + SLACK]`.
pub(super) struct Strip<'a> {
    /// Columns of the result.
    pub(super) columns: Range<usize>,
    pub(super) values: &'a mut [f32],
}

impl Strip<'_> {
    /// Where to store tiles of the panel whose lane 0 is row `first_row` of the matrix.
    pub(super) fn tiles(&mut self, first_row: usize) -> TileOut<'_> {
        let stride = stride(&self.columns);
        TileOut { values: &mut self.values[first_row + LEAD - self.columns.start..], stride }
    }
}

/// Where register tiles are stored: a vector per row and panel, rows `stride` apart.
pub(super) struct TileOut<'a> {
    values: &'a mut [f32],
    stride: usize,
}

impl TileOut<'_> {
    #[inline(always)]
    pub(super) fn store<I: Isa>(&mut self, isa: I, row: usize, panel: usize, v: I::F32) {
        let values = &mut self.values[row * self.stride + panel * LANES..];
        isa.store(values.first_chunk_mut().expect("the strip has slack"), v);
    }
}
