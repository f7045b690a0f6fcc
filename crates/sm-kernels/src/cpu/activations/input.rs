//! The rows that a product reads.

use super::bf16::{self, Bf16Slot};
use super::int8::{BLOCK_LEN, Int8Block};

/// The rows that a product reads, in every encoding that its weights need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputRows<'a> {
    /// `[.., f32_stride]`, for weights in F32 and F16; may be empty if there are none.
    pub(crate) f32: &'a [f32],
    /// Values from one row to the next.
    pub(crate) f32_stride: usize,
    /// `[.., bf16::stride(cols)]`, for weights in BF16; may be empty if there are none.
    pub(crate) bf16: &'a [Bf16Slot],
    /// `[.., int8_stride]`, for quantized weights; may be empty if there are none.
    pub(crate) int8: &'a [Int8Block],
    /// Blocks from one row to the next.
    pub(crate) int8_stride: usize,
    /// Number of rows.
    pub(crate) n_rows: usize,
    /// `[n_rows]`: which rows to read, if not the first `n_rows`.
    pub(crate) row_indices: Option<&'a [u32]>,
}

impl<'a> InputRows<'a> {
    #[inline(always)]
    fn index(&self, row: usize) -> usize {
        self.row_indices.map_or(row, |indices| indices[row] as usize)
    }

    /// `[cols]`
    #[inline(always)]
    pub(crate) fn f32_row(&self, row: usize, cols: usize) -> &'a [f32] {
        &self.f32[self.index(row) * self.f32_stride..][..cols]
    }

    /// `[bf16::stride(cols)]`
    #[inline(always)]
    pub(crate) fn bf16_row(&self, row: usize, cols: usize) -> &'a [Bf16Slot] {
        let stride = bf16::stride(cols);
        &self.bf16[self.index(row) * stride..][..stride]
    }

    /// `[cols / BLOCK_LEN]`
    #[inline(always)]
    pub(crate) fn int8_row(&self, row: usize, cols: usize) -> &'a [Int8Block] {
        &self.int8[self.index(row) * self.int8_stride..][..cols / BLOCK_LEN]
    }
}
