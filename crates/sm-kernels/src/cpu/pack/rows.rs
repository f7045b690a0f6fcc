//! Rows of a tensor, as a file has them, into panels.

use std::ops::Range;

use bytemuck::Zeroable;

use super::Line;
use crate::cpu::formats::{FloatFormat, FormatVisitor, QuantFormat, UNIT_LEN};
use crate::cpu::isa::LANES;

/// Writes rows into panels, which hold zeros.
pub(super) struct WriteRows<'a> {
    pub(super) cols: usize,
    /// The rows, one after the other.
    pub(super) bytes: &'a [u8],
    /// The panels; the last has room for rows that are not there.
    pub(super) lines: &'a mut [Line],
    pub(super) panel_lines: usize,
}

impl<'a> WriteRows<'a> {
    /// Panels with their rows.
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
            // A cache line of every row at a time stays in the first-level cache.
            let line_values = size_of::<Line>() / value_bytes;
            for (line, columns) in columns[..n_values].chunks_mut(line_values).enumerate() {
                let start = line * size_of::<Line>();
                let part = start..(start + columns.len() * value_bytes).min(row_bytes);
                let mut n_done = 0;
                if value_bytes == 2 {
                    n_done = rows.transpose_halves(&part, bytemuck::cast_slice_mut(columns));
                }
                for lane in n_done..rows.len() {
                    let mut values = rows.part(lane, &part).chunks_exact(value_bytes);
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
        let file_block_bytes = F::DTYPE.block_bytes();
        let row_bytes = self.cols / F::DTYPE.block_len() * file_block_bytes;
        let file_blocks_per_block = F::UNITS * UNIT_LEN / F::DTYPE.block_len();
        let units_per_file_block = F::UNITS / file_blocks_per_block;
        for (panel, rows) in self.panels(row_bytes) {
            let (blocks, n_rows): (&mut [F::Block], _) = (bytemuck::cast_slice_mut(panel), rows.len());
            for (index, block) in blocks.iter_mut().enumerate() {
                let start = index * file_blocks_per_block * file_block_bytes;
                let part = start..(start + file_blocks_per_block * file_block_bytes).min(row_bytes);
                for lane in 0..n_rows {
                    let file_blocks = rows.part(lane, &part).chunks_exact(file_block_bytes);
                    for (i, file_block) in file_blocks.enumerate() {
                        F::pack(file_block, lane, i * units_per_file_block, block);
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

    /// Some bytes of one row.
    #[inline(always)]
    fn part(self, row: usize, part: &Range<usize>) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..][part.clone()]
    }

    /// Writes a part of rows with values of 16 bits into its columns, four rows of four columns at a time; gives the number
    /// of rows done.
    #[inline(always)]
    fn transpose_halves(self, part: &Range<usize>, columns: &mut [[u16; LANES]]) -> usize {
        let (groups, []) = columns.as_chunks_mut::<4>() else { return 0 };
        let n_rows = self.len() / 4 * 4;
        for lane in (0..n_rows).step_by(4) {
            let rows = [0, 1, 2, 3].map(|i| self.part(lane + i, part).as_chunks::<8>().0);
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

/// Transposes four words of four numbers each.
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
