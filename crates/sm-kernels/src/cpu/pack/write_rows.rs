//! Writes rows of a tensor, in file layout, into panels.
//!
//! ```text
//! row 0   a0 a1 a2 …                a0 b0 c0 …   column 0 of 16 rows
//! row 1   b0 b1 b2 …       ──►      a1 b1 c1 …
//! row 2   c0 c1 c2 …                a2 b2 c2 …
//! ```
//!
//! Floats are transposed a cache line of every row at a time, so that source and destination stay in L1; values of 16
//! bits as 4 × 4 blocks within `u64` words. Quantized rows go block by block through [`QuantFormat::pack`].
//!
//! The bound is fresh memory: pages that the system has to zero first cost more than reading and transposing.

use std::ops::Range;

use bytemuck::Zeroable;
use sm_tensor::DType;

use super::Line;
use crate::cpu::formats::{FileBlock, FloatFormat, FormatVisitor, QuantFormat, SEGMENT_LEN};
use crate::cpu::isa::LANES;

/// Writes rows into zeroed panels.
pub(super) struct WriteRows<'a> {
    pub(super) dtype: DType,
    pub(super) cols: usize,
    /// The rows, back to back.
    pub(super) bytes: &'a [u8],
    /// The panels; lanes without a row stay zero.
    pub(super) lines: &'a mut [Line],
    pub(super) panel_lines: usize,
}

impl<'a> WriteRows<'a> {
    /// The panels and their rows.
    fn panels(self, row_bytes: usize) -> impl Iterator<Item = (&'a mut [Line], PanelRows<'a>)> {
        let rows = self.bytes.chunks(LANES * row_bytes);
        self.lines.chunks_mut(self.panel_lines).zip(rows.map(move |bytes| PanelRows { bytes, row_bytes }))
    }
}

impl FormatVisitor for WriteRows<'_> {
    type Output = ();

    fn float<F: FloatFormat>(self) {
        let n_values = self.cols.div_ceil(F::COLS);
        let value_bytes = size_of::<F::Value>();
        let row_bytes = self.cols * value_bytes / F::COLS;
        for (panel, rows) in self.panels(row_bytes) {
            let columns = bytemuck::cast_slice_mut::<Line, F::Value>(panel).as_chunks_mut::<LANES>().0;
            // A cache line of every row at a time stays in L1.
            let line_values = size_of::<Line>() / value_bytes;
            for (line, columns) in columns[..n_values].chunks_mut(line_values).enumerate() {
                let start = line * size_of::<Line>();
                let range = start..(start + columns.len() * value_bytes).min(row_bytes);
                let mut n_done = 0;
                if value_bytes == 2 {
                    n_done = rows.transpose_halves(&range, bytemuck::cast_slice_mut(columns));
                }
                for lane in n_done..rows.len() {
                    let mut values = rows.bytes(lane, &range).chunks_exact(value_bytes);
                    for (column, value) in columns.iter_mut().zip(&mut values) {
                        column[lane] = F::pack(bytemuck::pod_read_unaligned(value));
                    }
                    let rest = values.remainder();
                    if let Some(last) = columns.last_mut().filter(|_| !rest.is_empty()) {
                        let mut value = F::Value::zeroed();
                        bytemuck::bytes_of_mut(&mut value)[..rest.len()].copy_from_slice(rest);
                        last[lane] = F::pack(value);
                    }
                }
            }
        }
    }

    fn quantized<F: QuantFormat>(self) {
        let dtype = self.dtype;
        let file_block_bytes = dtype.block_bytes();
        let row_bytes = self.cols / dtype.block_len() * file_block_bytes;
        let file_blocks_per_block = F::SEGMENTS * SEGMENT_LEN / dtype.block_len();
        let segments_per_file_block = F::SEGMENTS / file_blocks_per_block;
        for (panel, rows) in self.panels(row_bytes) {
            let blocks: &mut [F::Block] = bytemuck::cast_slice_mut(panel);
            let n_rows = rows.len();
            for (index, block) in blocks.iter_mut().enumerate() {
                let start = index * file_blocks_per_block * file_block_bytes;
                let range = start..(start + file_blocks_per_block * file_block_bytes).min(row_bytes);
                for lane in 0..n_rows {
                    let file_blocks = rows.bytes(lane, &range).chunks_exact(file_block_bytes);
                    for (i, bytes) in file_blocks.enumerate() {
                        F::pack(FileBlock { dtype, bytes }, lane, i * segments_per_file_block, block);
                    }
                }
            }
        }
    }
}

/// The rows of a panel.
#[derive(Clone, Copy)]
struct PanelRows<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
}

impl<'a> PanelRows<'a> {
    fn len(self) -> usize {
        self.bytes.len() / self.row_bytes
    }

    /// A range of the bytes of one row.
    #[inline(always)]
    fn bytes(self, row: usize, range: &Range<usize>) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..][range.clone()]
    }

    /// Transposes a range of 16-bit values into its columns, 4 × 4 values at a time. Returns the number of rows done: a
    /// multiple of 4, or 0 if the columns are not.
    #[inline(always)]
    fn transpose_halves(self, range: &Range<usize>, columns: &mut [[u16; LANES]]) -> usize {
        let (groups, []) = columns.as_chunks_mut::<4>() else { return 0 };
        let n_rows = self.len() / 4 * 4;
        for lane in (0..n_rows).step_by(4) {
            let rows = [0, 1, 2, 3].map(|i| self.bytes(lane + i, range).as_chunks::<8>().0);
            for (i, group) in groups.iter_mut().enumerate() {
                let quads = transpose(rows.map(|row| u64::from_le_bytes(row[i])));
                for (column, quad) in group.iter_mut().zip(quads) {
                    column.as_chunks_mut::<4>().0[lane / 4] = bytemuck::cast(quad.to_le_bytes());
                }
            }
        }
        n_rows
    }
}

/// Transposes 4 × 4 values of 16 bits.
#[inline(always)]
fn transpose([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    const EVEN: u64 = 0x0000_ffff_0000_ffff;
    const LOW: u64 = 0xffff_ffff;
    let ab_even = a & EVEN | (b & EVEN) << 16;
    let ab_odd = a >> 16 & EVEN | b & !EVEN;
    let cd_even = c & EVEN | (d & EVEN) << 16;
    let cd_odd = c >> 16 & EVEN | d & !EVEN;
    [
        ab_even & LOW | cd_even << 32,
        ab_odd & LOW | cd_odd << 32,
        ab_even >> 32 | cd_even & !LOW,
        ab_odd >> 32 | cd_odd & !LOW,
    ]
}
