//! Matrix products: activation rows times packed weights.
//!
//! A lane of a vector is an output, and the products of an output are added in one chain, in the order of the
//! columns:
//!
//! ```text
//! float:      acc = fma(w[k], x[k], acc)                                 for each column k
//! bf16:       acc = fma(w[k], x[k], fma(w[k + 1], x[k + 1], acc))        for each pair of columns k, x rounded to bf16
//! quantized:  acc = fma(f32(dot), scale_w * scale_x, acc)                for each group of columns, dot exact
//!             acc = fma(min_w, -(scale_x * sum_x), acc)                  where the format has minima
//! ```
//!
//! So the number of rows, of workers and the instruction set change nothing but the speed. Few rows read the panels as
//! they are; for many rows a pair of panels is unpacked once, to bytes and `f32` scales, or from F16 to F32 where that is quicker,
//! and swept over all rows.

mod bf16;
mod dots;
mod float;
mod quantized;
#[cfg(test)]
pub(super) mod tests;
mod unpacked;

use std::ops::Range;

use sm_tensor::DType;

use crate::cpu::activations::InputRows;
use crate::cpu::formats::{self, FloatFormat, FormatVisitor, QuantFormat, UNIT_LEN};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::pack::{Line, PackedMatrix, Panels};
use unpacked::PanelPair;

/// Columns of a strip where panels are unpacked: the pair of panels.
const PAIR_LEN: usize = 2 * LANES;
/// Up to this many rows, panels are read as they are: unpacking pays only where very many rows share it.
const fn few_rows<I: Isa>() -> usize {
    if I::TILE_ROWS > 1 { STRIP_ROWS } else { 2 }
}

/// Rows of a strip, and at most [`few_rows`]: several tiles of rows, whose results stay in the first-level cache.
const STRIP_ROWS: usize = 48;
/// Outputs of a strip.
const STRIP_LEN: usize = STRIP_ROWS * PAIR_LEN;
/// What a strip has left of its first output: a panel may begin before it.
const STRIP_LEAD: usize = LANES;
/// What a strip has beside its outputs: panels may also end after them.
const STRIP_SLACK: usize = STRIP_LEAD + PAIR_LEN;

/// The results of a product, on their way to memory.
pub(crate) trait Sink<const M: usize> {
    /// Takes the values of `columns` of a row, one slice per matrix. The slices are padded to whole vectors.
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, values: [&mut [f32]; M]);
}

/// The memory that a worker needs for products.
#[derive(Debug)]
pub(crate) struct Scratch {
    strips: [Vec<f32>; 2],
    /// A pair of panels of each matrix, unpacked.
    unpacked: [Vec<Line>; 2],
}

impl Scratch {
    /// Memory for matrices of up to `max_cols` columns.
    pub(crate) fn new(max_cols: usize) -> Self {
        let strip = || vec![0.0; STRIP_LEN + STRIP_ROWS * STRIP_SLACK];
        let unpacked = || bytemuck::zeroed_vec(pair_lines(max_cols));
        Self { strips: [strip(), strip()], unpacked: [unpacked(), unpacked()] }
    }

    /// Bytes of such a scratch.
    pub(crate) fn n_bytes(max_cols: usize) -> usize {
        2 * ((STRIP_LEN + STRIP_ROWS * STRIP_SLACK) * size_of::<f32>()
            + pair_lines(max_cols) * size_of::<Line>())
    }
}

/// Lines of an unpacked pair: at most those of values in F32.
const fn pair_lines(cols: usize) -> usize {
    const { assert!(size_of::<unpacked::Unit>() <= UNIT_LEN * PAIR_LEN * size_of::<f32>(), "units are no larger") }
    cols.next_multiple_of(UNIT_LEN) * PAIR_LEN / LANES
}

/// Multiplies the rows of `input` with rows `columns` of the matrices (columns of the result) and gives the results
/// to `sink`, strip by strip.
///
/// # Panics
/// If a matrix is wider than `scratch` was made for, or the input lacks a form that a matrix reads.
pub(crate) fn product<I: Isa, S: Sink<M>, const M: usize>(
    isa: I,
    (input, matrices): (&InputRows<'_>, [PackedMatrix<'_>; M]),
    columns: Range<usize>,
    sink: &mut S,
    scratch: &mut Scratch,
) {
    const { assert!(0 < M && M <= 2, "the scratch is for one or two matrices") }
    if input.n_rows == 0 {
        return;
    }
    let few = input.n_rows <= few_rows::<I>();
    let width = if few { STRIP_LEN / input.n_rows / PAIR_LEN * PAIR_LEN } else { PAIR_LEN };
    let Scratch { strips, unpacked } = scratch;
    for start in columns.clone().step_by(width) {
        let columns = start..(start + width).min(columns.end);
        let mut sources = [const { None }; M];
        for ((source, matrix), lines) in sources.iter_mut().zip(matrices).zip(unpacked.iter_mut()) {
            *source = Some(if few {
                Source::Packed(matrix)
            } else {
                Source::unpack(isa, matrix, columns.clone(), lines)
            });
        }
        for first in (0..input.n_rows).step_by(STRIP_ROWS) {
            let rows = first..(first + STRIP_ROWS).min(input.n_rows);
            for (source, strip) in sources.iter().flatten().zip(strips.iter_mut()) {
                source.multiply(isa, input, rows.clone(), Strip { columns: columns.clone(), values: strip });
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
    let stride = columns.len() + STRIP_SLACK;
    isa.enter(
        #[inline(always)]
        || {
            for (index, row) in rows.enumerate() {
                let mut values = strips.iter_mut().map(
                    #[inline(always)]
                    |strip| {
                        &mut strip[index * stride + STRIP_LEAD..][..columns.len().next_multiple_of(LANES)]
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

/// Results of a product: `values` is `[rows, columns.len() + STRIP_SLACK]`.
struct Strip<'a> {
    columns: Range<usize>,
    values: &'a mut [f32],
}

impl Strip<'_> {
    fn stride(&self) -> usize {
        self.columns.len() + STRIP_SLACK
    }

    /// Where the rows' lanes of the panel begin whose lane 0 is row `first_row` of the matrix.
    fn lanes_of(&mut self, first_row: usize) -> Lanes<'_> {
        let stride = self.stride();
        Lanes { values: &mut self.values[first_row + STRIP_LEAD - self.columns.start..], stride }
    }
}

/// Where a tile writes: vectors of lanes, rows `stride` apart.
struct Lanes<'a> {
    values: &'a mut [f32],
    stride: usize,
}

impl Lanes<'_> {
    #[inline(always)]
    fn store<I: Isa>(&mut self, isa: I, row: usize, panel: usize, v: I::F32) {
        let values = &mut self.values[row * self.stride + panel * LANES..];
        isa.store(values.first_chunk_mut().expect("the strip has slack"), v);
    }
}

/// The weights of a strip.
enum Source<'a> {
    Packed(PackedMatrix<'a>),
    Unpacked(PanelPair<'a>),
    Widened(Panels<'a>),
}

impl<'a> Source<'a> {
    /// Unpacks the panels of a strip, where that pays and they are a pair.
    fn unpack<I: Isa>(
        isa: I,
        matrix: PackedMatrix<'a>,
        columns: Range<usize>,
        lines: &'a mut [Line],
    ) -> Self {
        let mut runs = matrix.panels(columns);
        match (runs.next(), runs.next()) {
            (Some(panels), None) if panels.dtype.is_quantized() && panels.len() <= 2 => {
                Self::Unpacked(PanelPair::unpack(isa, panels, lines))
            }
            (Some(panels), None) if panels.dtype == DType::F16 && panels.len() <= 2 && I::HAS_SLOW_F16 => {
                Self::Widened(panels.widen(isa, lines))
            }
            _ => Self::Packed(matrix),
        }
    }

    fn multiply<I: Isa>(&self, isa: I, input: &InputRows<'_>, rows: Range<usize>, mut strip: Strip<'_>) {
        match self {
            Self::Unpacked(pair) => pair.multiply(isa, input, rows, strip.lanes_of(pair.first_row)),
            Self::Widened(panels) => multiply(isa, input, rows, *panels, &mut strip),
            Self::Packed(matrix) => {
                // Lanes after the end of a part are overwritten by the next part.
                for panels in matrix.panels(strip.columns.clone()) {
                    multiply(isa, input, rows.clone(), panels, &mut strip);
                }
            }
        }
    }
}

fn multiply<I: Isa>(
    isa: I,
    input: &InputRows<'_>,
    rows: Range<usize>,
    panels: Panels<'_>,
    strip: &mut Strip<'_>,
) {
    let lanes = strip.lanes_of(panels.first_row);
    formats::dispatch(panels.dtype, Multiply { isa, input, rows, panels, lanes });
}

/// Multiplies rows with panels as they are.
struct Multiply<'a, I> {
    isa: I,
    input: &'a InputRows<'a>,
    rows: Range<usize>,
    panels: Panels<'a>,
    lanes: Lanes<'a>,
}

impl<I: Isa> FormatVisitor for Multiply<'_, I> {
    type Output = ();

    #[inline(always)]
    fn float<F: FloatFormat>(self) {
        if F::DTYPE == DType::Bf16 {
            self.isa.with_bf16(self);
        } else {
            float::multiply::<I, F>(self);
        }
    }

    #[inline(always)]
    fn quantized<F: QuantFormat>(self) {
        quantized::multiply::<I, F>(self);
    }
}
