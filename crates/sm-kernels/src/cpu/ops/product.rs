//! Matrix products: rows of activations times packed weights.
//!
//! ```text
//! out[row][o] = sum over columns k of x[row][k] * w[o][k]
//!
//! float       acc = fma(w[k], x[k], acc)                             for each column k
//! bf16        acc = fma(w[k], x[k], fma(w[k + 1], x[k + 1], acc))    for each pair of columns; x is rounded to bf16
//! quantized   acc = fma(f32(dot), scale_w * scale_x, acc)            for each scale group; dot is exact
//!             acc = fma(min_w, -(scale_x * sum_x), acc)              where the format has minima
//! ```
//!
//! # Register tile
//!
//! ```text
//!                    panel p            panel p + 1
//!                  w[16 outputs][k]   w[16 outputs][k]      loaded once per column for all rows
//!                        │                  │
//! x[row    ][k] ──►  acc[0][0]          acc[0][1]           R × P vectors of sums, R up to 8, P up to 2
//! x[row + 1][k] ──►  acc[1][0]          acc[1][1]           x is broadcast
//!     …
//! ```
//!
//! A lane is an output. Sums stay in registers over all columns, so that an output is one chain of additions in the order of
//! the columns: its bits depend neither on the number of rows nor on workers or the instruction set. K is therefore not
//! blocked, unlike in BLIS, whose micro-kernel this is otherwise (Goto & van de Geijn 2008).
//!
//! # Where the weights come from
//!
//! * **Up to 48 rows** (decoding, batches): panels as they are packed. One row is bound by reading them.
//! * **More rows** (prompts): a pair of panels is unpacked once, to bytes and `f32` scales (`unpacked.rs`) or from F16 to F32,
//!   stays in L2, and is swept over all rows, 48 at a time.
//!
//! A worker takes the results of 48 rows × 32 outputs, a *strip* that stays in L1, to a [`Sink`]: bias, activation, residual.
//!
//! # Bounds, and what lost
//!
//! Many rows of quantized weights: for a tile of 6 rows × 32 outputs, 96 `vpdpbusd` per segment share their units with 24
//! multiplications for scales, 80 % of the peak at most; 12 more for minima leave 73 %.
//!
//! * Reading packed panels for prompts too: Q6_K lost 10 %, on AVX2 Q4_0 lost 29 %.
//! * Unpacking for 17 to 48 rows on AVX-512: costs more than it saves.
//! * 12 rows per tile, 2 rows × 32 outputs on AVX2, two or four panels at a time for one row: slower.

mod bf16;
mod dots;
mod float;
mod panel;
mod quantized;
mod strip;
mod strip_weights;
#[cfg(test)]
pub(super) mod tests;
mod unpacked;

use std::ops::Range;

use crate::cpu::activations::InputRows;
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::pack::{Line, PackedMatrix};
use strip::{PAIR_LEN, STRIP_LEN, STRIP_ROWS, STRIP_VALUES, Strip};
use strip_weights::StripWeights;

/// Up to this many rows, panels are read as they are packed: unpacking pays only if very many rows share it.
const fn max_rows_packed<I: Isa>() -> usize {
    if I::TILE_ROWS > 1 { STRIP_ROWS } else { 2 }
}

/// Takes the results of a product to memory.
pub(crate) trait Sink<const M: usize> {
    /// Takes `columns` of a row, one slice per matrix, padded to whole vectors.
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, values: [&mut [f32]; M]);
}

/// A worker's memory for products: room for two matrices at a time.
#[derive(Debug)]
pub(crate) struct ProductWorkspace {
    /// Results of a strip.
    strips: [Vec<f32>; 2],
    /// A pair of panels, unpacked.
    unpacked: [Vec<Line>; 2],
}

impl ProductWorkspace {
    /// Memory for matrices of up to `max_cols` columns.
    pub(crate) fn new(max_cols: usize) -> Self {
        let strip = || vec![0.0; STRIP_VALUES];
        let unpacked = || bytemuck::zeroed_vec(unpacked::pair_lines(max_cols));
        Self { strips: [strip(), strip()], unpacked: [unpacked(), unpacked()] }
    }

    /// Bytes of such a workspace.
    pub(crate) fn n_bytes(max_cols: usize) -> usize {
        2 * (STRIP_VALUES * size_of::<f32>() + unpacked::pair_lines(max_cols) * size_of::<Line>())
    }
}

/// Multiplies the rows of `input` with rows `columns` of the matrices, which are columns of the result, and gives the results
/// to `sink`, strip by strip.
///
/// # Panics
/// If a matrix is wider than `workspace` was made for, or the input lacks an encoding that a matrix needs.
pub(crate) fn product<I: Isa, S: Sink<M>, const M: usize>(
    isa: I,
    input: &InputRows<'_>,
    matrices: [PackedMatrix<'_>; M],
    columns: Range<usize>,
    sink: &mut S,
    workspace: &mut ProductWorkspace,
) {
    const { assert!(0 < M && M <= 2, "the workspace is for one or two matrices") }
    if input.n_rows == 0 {
        return;
    }
    let is_packed = input.n_rows <= max_rows_packed::<I>();
    let width = if is_packed { STRIP_LEN / input.n_rows / PAIR_LEN * PAIR_LEN } else { PAIR_LEN };
    let ProductWorkspace { strips, unpacked } = workspace;
    for start in columns.clone().step_by(width) {
        let columns = start..(start + width).min(columns.end);
        let mut weights = [const { None }; M];
        for ((weights, matrix), lines) in weights.iter_mut().zip(matrices).zip(unpacked.iter_mut()) {
            *weights = Some(if is_packed {
                StripWeights::Packed(matrix)
            } else {
                StripWeights::unpack(isa, matrix, columns.clone(), lines)
            });
        }
        for first in (0..input.n_rows).step_by(STRIP_ROWS) {
            let rows = first..(first + STRIP_ROWS).min(input.n_rows);
            for (weights, strip) in weights.iter().flatten().zip(strips.iter_mut()) {
                weights.multiply(isa, input, rows.clone(), Strip { columns: columns.clone(), values: strip });
            }
            drain(isa, rows, columns.clone(), strips, sink);
        }
    }
}

/// Gives the rows of the strips to the sink.
fn drain<I: Isa, S: Sink<M>, const M: usize>(
    isa: I,
    rows: Range<usize>,
    columns: Range<usize>,
    strips: &mut [Vec<f32>; 2],
    sink: &mut S,
) {
    isa.enter(
        #[inline(always)]
        || {
            for (index, row) in rows.enumerate() {
                let mut values = strips.iter_mut().map(
                    #[inline(always)]
                    |strip| {
                        let first = strip::first_value(&columns, index);
                        &mut strip[first..][..columns.len().next_multiple_of(LANES)]
                    },
                );
                let values = [(); M].map(
                    #[inline(always)]
                    |()| values.next().unwrap_or_default(),
                );
                sink.put(isa, row, columns.clone(), values);
            }
        },
    );
}
