//! Weight matrices as the kernels read them: panels of 16 rows, written by the workers that will read most of them.
//!
//! ```text
//! matrix qkv [2560, cols]             its lines of 64 bytes
//!
//! tensor q   2048 rows, Q4_0   ──►    │ panel 0 │ panel 1 │ … │ panel 127 │      16 rows each
//! tensor k    256 rows, Q4_0   ──►    │ panel 0 │ … │ panel 15 │
//! tensor v    256 rows, Q6_K   ──►    │ panel 0 │ … │ panel 15 │
//! ```
//!
//! A matrix is a stack of tensors, each with panels of its own format; its last panel is padded with zero rows. All
//! matrices share one mapping, which can be kept in a file and mapped again.
//!
//! Tensors are read into a buffer that fits L2 and packed from there, so that a model is never in memory twice. Packing
//! straight from a mapped file took at least one and a half times as long: it has page faults, and no prefetcher
//! foresees 16 rows at a time.
//!
//! Why packed at all: multiplying float weights where they lie in the file, with lanes along the columns and 16 partial
//! sums, was built. It needs no memory of its own and loads as fast as the file is read, but batches lost up to 40 %,
//! and AVX2 half of its prompts. Packing in panels is that of BLIS (Van Zee & van de Geijn 2015) with `MR = 16`, done
//! once at load instead of in every product.

mod panels;
#[cfg(test)]
pub(crate) mod tests;
mod write_rows;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use crate::cpu::formats::{self, FloatFormat, FormatVisitor, QuantFormat, SEGMENT_LEN};
use crate::cpu::isa::{Isa, LANES};
use crate::plan::{MatrixDecl, PrepareError, WeightError, WeightSource};
use panels::DequantizeRow;
pub(crate) use panels::Panels;
use write_rows::WriteRows;

/// A cache line: panels are whole lines, aligned to them.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

/// Approximate bytes read from the source at a time: they stay in L2 until they are packed.
const READ_BYTES: usize = 128 << 10;

/// One tensor of a matrix, in panels: the last is padded with zero rows.
#[derive(Clone, Debug)]
struct PackedTensor {
    name: String,
    dtype: DType,
    /// Bytes of a row in the source.
    row_bytes: usize,
    /// Rows of the matrix.
    rows: Range<usize>,
    first_line: usize,
    panel_lines: usize,
}

impl PackedTensor {
    fn n_panels(&self) -> usize {
        self.rows.len().div_ceil(LANES)
    }

    fn first_row(&self, panel: usize) -> usize {
        self.rows.start + panel * LANES
    }
}

/// Where the panels of a weight matrix `[rows, cols]` lie in its lines.
#[derive(Debug)]
pub(crate) struct MatrixLayout {
    cols: usize,
    tensors: Vec<PackedTensor>,
    n_lines: usize,
}

/// A weight matrix `[rows, cols]` in panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedMatrix<'a> {
    layout: &'a MatrixLayout,
    lines: &'a [Line],
}

/// The panels that one worker writes.
#[derive(Debug)]
pub(crate) struct PackShare<'a> {
    cols: usize,
    pieces: Vec<Piece<'a>>,
}

/// Some panels of one tensor.
#[derive(Debug)]
struct Piece<'a> {
    tensor: &'a PackedTensor,
    /// Panels of the tensor.
    panels: Range<usize>,
    /// Their lines.
    lines: &'a mut [Line],
}

impl MatrixLayout {
    /// The layout of a declared matrix.
    ///
    /// # Errors
    /// If a row is not a whole number of blocks, or the size overflows.
    pub(crate) fn new(decl: &MatrixDecl) -> Result<Self, PrepareError> {
        let mut first_row = 0;
        let mut n_lines = 0_usize;
        let mut tensors = Vec::with_capacity(decl.parts.len());
        let too_large = || PrepareError::OutOfMemory { what: "a weight matrix", needed_bytes: usize::MAX };
        for part in &decl.parts {
            let row_bytes = part.dtype.row_bytes(decl.cols).filter(|_| decl.cols > 0);
            let Some(row_bytes) = row_bytes else {
                let reason = format!(
                    "tensor {:?} has rows of {} values, not whole {} blocks",
                    part.tensor, decl.cols, part.dtype
                );
                return Err(PrepareError::Unsupported(reason));
            };
            let tensor = PackedTensor {
                name: part.tensor.clone(),
                dtype: part.dtype,
                row_bytes,
                rows: first_row..first_row + part.rows,
                first_line: n_lines,
                panel_lines: formats::dispatch(part.dtype, PanelLines { cols: decl.cols }),
            };
            let tensor_lines = tensor.n_panels().checked_mul(tensor.panel_lines).ok_or_else(too_large)?;
            n_lines = n_lines.checked_add(tensor_lines).ok_or_else(too_large)?;
            first_row += part.rows;
            tensors.push(tensor);
        }
        Ok(Self { cols: decl.cols, tensors, n_lines })
    }

    /// Output features.
    pub(crate) fn rows(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.rows.end)
    }

    /// Input features.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Number of lines.
    pub(crate) fn n_lines(&self) -> usize {
        self.n_lines
    }

    /// Splits zeroed lines: worker `i` packs the panels that begin in `shares[i]`, rows of the matrix. The shares cover
    /// all rows, in order.
    pub(crate) fn shares<'a>(
        &'a self,
        mut lines: &'a mut [Line],
        shares: &[Range<usize>],
    ) -> Vec<PackShare<'a>> {
        let mut result: Vec<_> =
            shares.iter().map(|_| PackShare { cols: self.cols, pieces: Vec::new() }).collect();
        for tensor in &self.tensors {
            let mut next = 0;
            for (share, rows) in result.iter_mut().zip(shares) {
                let end = rows.end.clamp(tensor.rows.start, tensor.rows.end) - tensor.rows.start;
                let panels = next..end.div_ceil(LANES).max(next);
                let (own, rest) = lines.split_at_mut(panels.len() * tensor.panel_lines);
                lines = rest;
                next = panels.end;
                share.pieces.push(Piece { tensor, panels, lines: own });
            }
            assert!(next == tensor.n_panels(), "the shares {shares:?} leave out rows {:?}", tensor.rows);
        }
        result
    }

    /// The matrix whose panels were packed into `lines`.
    #[inline]
    pub(crate) fn over<'a>(&'a self, lines: &'a [Line]) -> PackedMatrix<'a> {
        assert!(lines.len() == self.n_lines, "{} lines for a matrix of {}", lines.len(), self.n_lines);
        PackedMatrix { layout: self, lines }
    }
}

impl<'a> PackedMatrix<'a> {
    /// Output features.
    pub(crate) fn rows(&self) -> usize {
        self.layout.rows()
    }

    /// Input features.
    pub(crate) fn cols(&self) -> usize {
        self.layout.cols
    }

    /// The panels that hold `rows` of the matrix, in order. Their first and last lanes may lie outside of `rows`.
    #[inline]
    pub(crate) fn panels(&self, rows: Range<usize>) -> impl Iterator<Item = Panels<'a>> + use<'a> {
        let Self { layout, lines } = *self;
        layout.tensors.iter().filter_map(move |tensor| {
            let start = rows.start.max(tensor.rows.start);
            let end = rows.end.min(tensor.rows.end);
            if end <= start {
                return None;
            }
            let panels = (start - tensor.rows.start) / LANES..(end - tensor.rows.start).div_ceil(LANES);
            let lines = &lines[tensor.first_line + panels.start * tensor.panel_lines..];
            Some(Panels {
                dtype: tensor.dtype,
                cols: layout.cols,
                first_row: tensor.first_row(panels.start),
                lines: &lines[..panels.len() * tensor.panel_lines],
                panel_lines: tensor.panel_lines,
            })
        })
    }

    /// Reads the panels that hold `rows` of the matrix and does as little else as possible, to measure bandwidth.
    #[inline(always)]
    pub(crate) fn checksum(&self, rows: Range<usize>) -> u64 {
        // Independent sums, so that their latency does not show.
        let mut sums = [0; 32];
        for panels in self.panels(rows) {
            for words in bytemuck::cast_slice::<Line, u64>(panels.lines).chunks(sums.len()) {
                sums.iter_mut().zip(words).for_each(|(sum, word)| *sum ^= word);
            }
        }
        sums.into_iter().fold(0, |total, sum| total ^ sum)
    }

    /// Decodes one row, bit-identical to `sm_tensor::dequantize`.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `[cols]`.
    #[inline(always)]
    pub(crate) fn dequantize_row<I: Isa>(&self, isa: I, row: usize, out: &mut [f32]) {
        assert!(out.len() == self.cols(), "{} values for a row of {}", out.len(), self.cols());
        let panels = self.panels(row..row + 1).next().expect("the row is in the matrix");
        formats::dispatch(panels.dtype, DequantizeRow { isa, lane: row - panels.first_row, panels, out });
    }
}

impl PackShare<'_> {
    /// Reads the tensors through `buffer` and writes their panels. Adds the bytes read to `packed_bytes`.
    ///
    /// # Errors
    /// If a tensor is missing or too small.
    pub(crate) fn pack(
        &mut self,
        weights: &dyn WeightSource,
        buffer: &mut Vec<u8>,
        packed_bytes: &AtomicU64,
    ) -> Result<(), PrepareError> {
        for Piece { tensor, panels, lines } in &mut self.pieces {
            let cols = self.cols;
            let panel_lines = tensor.panel_lines;
            let n_panels = (READ_BYTES / (LANES * tensor.row_bytes)).max(1);
            let lines = lines.chunks_mut(panel_lines * n_panels);
            for (first, lines) in panels.clone().step_by(n_panels).zip(lines) {
                let end = ((first + n_panels).min(panels.end) * LANES).min(tensor.rows.len());
                let rows = first * LANES..end;
                let n_rows = rows.len();
                let bytes = weights.matrix_rows(&tensor.name, rows, buffer)?;
                if bytes.len() != n_rows * tensor.row_bytes {
                    let actual = bytes.len() / tensor.dtype.block_bytes() * tensor.dtype.block_len();
                    let expected = n_rows * cols;
                    return Err(WeightError::Size { tensor: tensor.name.clone(), expected, actual }.into());
                }
                let dtype = tensor.dtype;
                formats::dispatch(dtype, WriteRows { dtype, cols, bytes, lines, panel_lines });
                packed_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Lines of a panel.
struct PanelLines {
    cols: usize,
}

impl FormatVisitor for PanelLines {
    type Output = usize;

    fn float<F: FloatFormat>(self) -> usize {
        (self.cols.div_ceil(F::COLS) * size_of::<[F::Value; LANES]>()).div_ceil(size_of::<Line>())
    }

    fn quantized<F: QuantFormat>(self) -> usize {
        const { assert!(size_of::<F::Block>().is_multiple_of(size_of::<Line>()), "blocks are whole lines") }
        self.cols.div_ceil(F::SEGMENTS * SEGMENT_LEN) * (size_of::<F::Block>() / size_of::<Line>())
    }
}
