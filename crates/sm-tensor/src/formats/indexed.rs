//! Super-blocks of 256 values that are entries of a table of 16 small integers, times a scale.
//!
//! ```text
//! value[i] = unit * d * scale[i / 16] * table[index[i]]
//! ```
//!
//! The types of 1 to 3 bits store no index per value: 4 or 8 values share one into a *grid*, a list of the combinations
//! that serve best (`grids.rs`). Unpacked, they all have this form, so a backend needs one kernel for it and nothing of
//! the grids. Every product but the last is exact in `f32`: 11 bits of `d`, 6 of the scale and 7 of the table.

use half::f16;

use crate::DType;

/// Values of a super-block.
pub(super) const LEN: usize = 256;

/// A super-block of an indexed type, unpacked.
#[derive(Clone, Debug)]
pub struct IndexedBlock {
    /// Scale of the scales.
    pub d: f16,
    /// The scale of each 16 values.
    pub scales: [i8; LEN / 16],
    /// Positions in the table of values, below 16.
    pub indices: [u8; LEN],
}

impl Default for IndexedBlock {
    fn default() -> Self {
        Self { d: f16::ZERO, scales: [0; LEN / 16], indices: [0; LEN] }
    }
}

impl IndexedBlock {
    /// Sets the scale of 32 values.
    pub(super) fn set_scale_of_32(&mut self, idx: usize, scale: i8) {
        self.scales.as_chunks_mut::<2>().0[idx] = [scale; 2];
    }
}

/// How a type stores indexed values. `DType::indexed` has those that do.
#[derive(Clone, Copy, Debug)]
pub struct IndexedFormat {
    /// Multiple of `d`, a power of two.
    pub unit: f32,
    /// The values that occur, before they are scaled.
    pub table: [i8; 16],
    unpack: fn(&[u8], &mut IndexedBlock),
}

impl IndexedFormat {
    pub(super) const fn new<F: Indexed<BYTES>, const BYTES: usize>() -> Self {
        Self { unit: F::UNIT, table: F::TABLE, unpack: unpack::<F, BYTES> }
    }

    /// Unpacks a block of the file.
    ///
    /// # Panics
    /// If `block` has the wrong size.
    pub fn unpack(&self, block: &[u8], unpacked: &mut IndexedBlock) {
        (self.unpack)(block, unpacked);
    }
}

/// A type with super-blocks of `BYTES` bytes whose values are indexed.
pub(super) trait Indexed<const BYTES: usize> {
    /// The data type.
    const DTYPE: DType;
    /// As [`IndexedFormat::unit`].
    const UNIT: f32;
    /// As [`IndexedFormat::table`].
    const TABLE: [i8; 16];

    /// Unpacks a block; `unpacked` may hold anything.
    fn unpack(block: &[u8; BYTES], unpacked: &mut IndexedBlock);
}

fn unpack<F: Indexed<BYTES>, const BYTES: usize>(block: &[u8], unpacked: &mut IndexedBlock) {
    let block = block.try_into().ok();
    F::unpack(block.expect("a block of the type's size"), unpacked);
}

/// Decodes a block.
pub(super) fn dequantize<F: Indexed<BYTES>, const BYTES: usize>(
    block: &[u8; BYTES],
    values: &mut [f32; LEN],
) {
    let mut unpacked = IndexedBlock::default();
    F::unpack(block, &mut unpacked);
    let table = F::TABLE.map(f32::from);
    let unit = unpacked.d.to_f32() * F::UNIT;
    let indices = unpacked.indices.as_chunks::<16>().0;
    for ((values, indices), scale) in
        values.as_chunks_mut::<16>().0.iter_mut().zip(indices).zip(unpacked.scales)
    {
        let scale = unit * f32::from(scale);
        for (value, &index) in values.iter_mut().zip(indices) {
            *value = scale * table[usize::from(index & 15)];
        }
    }
}
