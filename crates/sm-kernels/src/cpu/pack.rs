//! Weight matrices as the kernels read them: panels of 16 rows, written by the workers that will read most of them.

mod rows;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use crate::cpu::formats::{self, FloatFormat, FormatVisitor, QuantFormat, UNIT_LEN};
use crate::cpu::isa::{Isa, LANES};
use crate::plan::{MatrixDecl, PrepareError, WeightError, WeightSource};
use rows::WriteRows;

/// A cache line: the unit of size and alignment of panels.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; 64]);

/// Bytes read from the source at a time, about: they stay in the second-level cache until they are packed.
const READ_BYTES: usize = 128 << 10;

/// Rows of one tensor, as panels: the last is padded with rows of zeros.
#[derive(Clone, Debug)]
struct Part {
    tensor: String,
    dtype: DType,
    row_bytes: usize,
    /// In the matrix.
    rows: Range<usize>,
    first_line: usize,
    panel_lines: usize,
}

impl Part {
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
    parts: Vec<Part>,
    n_lines: usize,
}

/// A weight matrix `[rows, cols]` in panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedMatrix<'a> {
    layout: &'a MatrixLayout,
    lines: &'a [Line],
}

/// Neighbouring panels of one format, and the rows of the matrix that are wanted of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a> {
    /// The format of all of them.
    pub(crate) dtype: DType,
    /// Columns of the matrix.
    pub(crate) cols: usize,
    /// The row of the matrix in lane 0 of the first panel.
    pub(crate) first_row: usize,
    lines: &'a [Line],
    panel_lines: usize,
}

impl<'a> Panels<'a> {
    /// The same panels in F32, made in `lines` of panels in F16.
    ///
    /// # Panics
    /// If there are fewer than a line for each column of a panel, or the panels are in another format.
    pub(crate) fn widen<I: Isa>(self, isa: I, lines: &'a mut [Line]) -> Self {
        assert!(self.dtype == DType::F16, "panels in {} are not widened", self.dtype);
        let lines = &mut lines[..self.len() * self.cols];
        isa.enter(
            #[inline(always)]
            || {
                for (panel, lines) in lines.chunks_mut(self.cols).enumerate() {
                    let columns: &mut [[f32; LANES]] = bytemuck::cast_slice_mut(lines);
                    for (column, values) in columns.iter_mut().zip(self.values(panel)) {
                        isa.store(column, isa.load_f16(values));
                    }
                }
            },
        );
        Self { dtype: DType::F32, lines, panel_lines: self.cols, ..self }
    }

    /// Number of panels.
    pub(crate) fn len(&self) -> usize {
        self.lines.len() / self.panel_lines
    }

    /// The blocks of a panel of a quantized format.
    #[inline(always)]
    pub(crate) fn blocks<F: QuantFormat>(&self, panel: usize) -> &'a [F::Block] {
        bytemuck::cast_slice(&self.lines[panel * self.panel_lines..][..self.panel_lines])
    }

    /// The values of a panel of a float format, `[cols / COLS]` (and padding); `V` is its [`FloatFormat::Value`].
    #[inline(always)]
    pub(crate) fn values<V: Pod>(&self, panel: usize) -> &'a [[V; LANES]] {
        let lines: &[V] = bytemuck::cast_slice(&self.lines[panel * self.panel_lines..][..self.panel_lines]);
        lines.as_chunks::<LANES>().0
    }
}

/// The panels that one worker writes.
#[derive(Debug)]
pub(crate) struct PackShare<'a> {
    cols: usize,
    /// Part, its panels, their lines.
    pieces: Vec<(&'a Part, Range<usize>, &'a mut [Line])>,
}

impl MatrixLayout {
    /// Of the panels of `decl`.
    ///
    /// # Errors
    /// If a row is no whole number of blocks, or the size overflows.
    pub(crate) fn new(decl: &MatrixDecl) -> Result<Self, PrepareError> {
        let mut first_row = 0;
        let mut n_lines = 0_usize;
        let mut parts = Vec::with_capacity(decl.parts.len());
        let too_large = || PrepareError::OutOfMemory { what: "a weight matrix", needed_bytes: usize::MAX };
        for part in &decl.parts {
            let row_bytes = part.dtype.row_bytes(decl.cols).filter(|_| decl.cols > 0);
            let Some(row_bytes) = row_bytes else {
                let tensor = &part.tensor;
                let cols = decl.cols;
                let dtype = part.dtype;
                let reason = format!("tensor {tensor:?} has rows of {cols} values, no whole {dtype} blocks");
                return Err(PrepareError::Unsupported(reason));
            };
            let panel_lines = formats::dispatch(part.dtype, PanelLines { cols: decl.cols });
            let rows = first_row..first_row + part.rows;
            let tensor = part.tensor.clone();
            let dtype = part.dtype;
            let packed = Part { tensor, dtype, row_bytes, rows, first_line: n_lines, panel_lines };
            let part_lines = packed.n_panels().checked_mul(panel_lines).ok_or_else(too_large)?;
            n_lines = n_lines.checked_add(part_lines).ok_or_else(too_large)?;
            first_row += part.rows;
            parts.push(packed);
        }
        Ok(Self { cols: decl.cols, parts, n_lines })
    }

    /// Output features.
    pub(crate) fn rows(&self) -> usize {
        self.parts.last().map_or(0, |part| part.rows.end)
    }

    /// Input features.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Number of lines.
    pub(crate) fn n_lines(&self) -> usize {
        self.n_lines
    }

    /// Takes lines of zeros apart: worker `i` packs the panels that begin in `shares[i]`, rows of the matrix. The shares
    /// cover all rows, in order.
    pub(crate) fn shares<'a>(
        &'a self,
        mut lines: &'a mut [Line],
        shares: &[Range<usize>],
    ) -> Vec<PackShare<'a>> {
        let mut result: Vec<_> =
            shares.iter().map(|_| PackShare { cols: self.cols, pieces: Vec::new() }).collect();
        for part in &self.parts {
            let mut next = 0;
            for (share, rows) in result.iter_mut().zip(shares) {
                let end = rows.end.clamp(part.rows.start, part.rows.end) - part.rows.start;
                let panels = next..end.div_ceil(LANES).max(next);
                let (own, rest) = lines.split_at_mut(panels.len() * part.panel_lines);
                lines = rest;
                next = panels.end;
                share.pieces.push((part, panels, own));
            }
            assert!(next == part.n_panels(), "the shares {shares:?} leave out rows {:?}", part.rows);
        }
        result
    }

    /// The matrix whose panels were written into `lines`.
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

    /// The panels that hold the rows `rows` of the matrix, in order: their first and last lanes may be outside.
    #[inline]
    pub(crate) fn panels(&self, rows: Range<usize>) -> impl Iterator<Item = Panels<'a>> + use<'a> {
        let Self { layout, lines } = *self;
        layout.parts.iter().filter_map(move |part| {
            let start = rows.start.max(part.rows.start);
            let end = rows.end.min(part.rows.end);
            if end <= start {
                return None;
            }
            let panels = (start - part.rows.start) / LANES..(end - part.rows.start).div_ceil(LANES);
            let lines = &lines[part.first_line + panels.start * part.panel_lines..];
            Some(Panels {
                dtype: part.dtype,
                cols: layout.cols,
                first_row: part.first_row(panels.start),
                lines: &lines[..panels.len() * part.panel_lines],
                panel_lines: part.panel_lines,
            })
        })
    }

    /// Reads the panels that hold the rows `rows` of the matrix, and does as little else as possible.
    #[inline(always)]
    pub(crate) fn checksum(&self, rows: Range<usize>) -> u64 {
        // Sums that do not depend on each other, so that reading alone takes the time.
        let mut sums = [0; 32];
        for panels in self.panels(rows) {
            for words in bytemuck::cast_slice::<Line, u64>(panels.lines).chunks(sums.len()) {
                sums.iter_mut().zip(words).for_each(|(sum, word)| *sum ^= word);
            }
        }
        sums.into_iter().fold(0, |total, sum| total ^ sum)
    }

    /// The values of one row, to the bit as the file's format gives them.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not `[cols]`.
    #[inline(always)]
    pub(crate) fn dequantize_row<I: Isa>(&self, isa: I, row: usize, out: &mut [f32]) {
        assert!(out.len() == self.cols(), "{} values for a row of {}", out.len(), self.cols());
        let panels = self.panels(row..row + 1).next().expect("the row is one of the matrix");
        formats::dispatch(panels.dtype, DequantizeRow { isa, lane: row - panels.first_row, panels, out });
    }
}

impl PackShare<'_> {
    /// Reads the tensors by way of `buffer` and writes the panels; `packed_bytes` counts the bytes read.
    ///
    /// # Errors
    /// If a tensor is missing or too small.
    pub(crate) fn pack(
        &mut self,
        weights: &dyn WeightSource,
        buffer: &mut Vec<u8>,
        packed_bytes: &AtomicU64,
    ) -> Result<(), PrepareError> {
        for (part, panels, lines) in &mut self.pieces {
            let cols = self.cols;
            let panel_lines = part.panel_lines;
            let n_panels = (READ_BYTES / (LANES * part.row_bytes)).max(1);
            let lines = lines.chunks_mut(panel_lines * n_panels);
            for (first, lines) in panels.clone().step_by(n_panels).zip(lines) {
                let rows = first * LANES..((first + n_panels).min(panels.end) * LANES).min(part.rows.len());
                let n_rows = rows.len();
                let bytes = weights.matrix_rows(&part.tensor, rows, buffer)?;
                if bytes.len() != n_rows * part.row_bytes {
                    let actual = bytes.len() / part.dtype.block_bytes() * part.dtype.block_len();
                    let tensor = part.tensor.clone();
                    let expected = n_rows * cols;
                    return Err(WeightError::Size { tensor, expected, actual }.into());
                }
                formats::dispatch(part.dtype, WriteRows { cols, bytes, lines, panel_lines });
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
        self.cols.div_ceil(F::UNITS * UNIT_LEN) * (size_of::<F::Block>() / size_of::<Line>())
    }
}

/// Reads one lane of a panel.
struct DequantizeRow<'a, I> {
    isa: I,
    panels: Panels<'a>,
    lane: usize,
    out: &'a mut [f32],
}

impl<I: Isa> FormatVisitor for DequantizeRow<'_, I> {
    type Output = ();

    #[inline(always)]
    fn float<F: FloatFormat>(self) {
        let mut lanes = [0.0; LANES];
        for (out, values) in self.out.chunks_mut(F::COLS).zip(self.panels.values::<F::Value>(0)) {
            for (column, out) in out.iter_mut().enumerate() {
                self.isa.store(&mut lanes, F::load(self.isa, values, column));
                *out = lanes[self.lane];
            }
        }
    }

    #[inline(always)]
    fn quantized<F: QuantFormat>(self) {
        let isa = self.isa;
        let lane = self.lane;
        let blocks = self.panels.blocks::<F>(0);
        for (index, out) in self.out.as_chunks_mut::<UNIT_LEN>().0.iter_mut().enumerate() {
            let block = &blocks[index / F::UNITS];
            let unit = index % F::UNITS;
            let lane_of = |vector: I::F32| {
                let mut lanes = [0.0; LANES];
                isa.store(&mut lanes, vector);
                lanes[lane]
            };
            let group_quads = formats::UNIT_QUADS / <F::Kind as formats::CodeKind>::GROUPS;
            let mut bytes = [0; 64];
            for (group, out) in out.as_chunks_mut::<4>().0.chunks_mut(group_quads).enumerate() {
                let scale = lane_of(F::scales(isa, block, unit, group));
                let min = lane_of(F::mins(isa, block, unit, group));
                for (quad, out) in out.iter_mut().enumerate() {
                    isa.store_bytes(&mut bytes, F::codes(isa, block, unit, group * group_quads + quad));
                    for (out, code) in out.iter_mut().zip(&bytes[4 * lane..]) {
                        // Without minima, subtracting zero changes nothing.
                        *out = scale * (i32::from(*code) - F::OFFSET) as f32 - min;
                    }
                }
            }
        }
    }
}
