//! How keys and values are stored in pages: F16, F32, or Q8_0, bytes with a scale for each 32 values of a head.
//!
//! ```text
//! one head of a page     keys     [head_dim][16 positions]            a vector: one dimension of 16 positions
//!                        scales   [head_dim / 32][16 positions]       Q8_0 only
//!                        values   [16 positions][padded head_dim]     vectors: the dimensions of one position
//!                        scales   [16 positions][padded head_dim / 32]
//! ```
//!
//! Keys are transposed, so that scores of 16 positions are one vector and add up in the order of dimensions; values are not,
//! so that outputs add up in the order of positions. A position fills a column of the keys when it is written, which costs
//! strided stores once, and reading, which happens in every later step, goes straight through memory.
//!
//! What is stored of a position depends on that position alone: a context is the same whoever computed it, in whatever chunks.

use bytemuck::{Pod, Zeroable};

use crate::cpu::activations::int8::{BLOCK_LEN, Int8Block, encode_block};
use crate::cpu::isa::{Isa, LANES};
use crate::plan::{KvDType, PAGE_LEN};

/// A stored number of a key or value.
pub(crate) trait KvElement: Pod + Send + Sync {
    /// The storage type.
    const DTYPE: KvDType;
    /// Whether each 32 values of a head have a scale.
    const IS_SCALED: bool;
    /// Loads a vector, not yet scaled.
    fn load<I: Isa>(isa: I, codes: &[Self; LANES]) -> I::F32;
    /// Stores a padded head as column `slot` of `[head_dim][PAGE_LEN]` keys, and its scales.
    fn store_key<I: Isa>(isa: I, keys: &mut [Self], head_dim: usize, slot: usize, head: &[f32]);
    /// Stores a padded head as row `slot` of `[PAGE_LEN][padded head_dim]` values, and its scales.
    fn store_value<I: Isa>(isa: I, values: &mut [Self], slot: usize, head: &[f32]);
}

/// The keys or the values of one head of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadPage<'a, E> {
    /// Keys: `[head_dim]`. Values: `[PAGE_LEN][padded head_dim / LANES]`.
    pub(crate) vectors: &'a [[E; LANES]],
    /// Keys: `[head_dim / 32][PAGE_LEN]`. Values: `[PAGE_LEN][padded head_dim / 32]`. Empty unless [`KvElement::IS_SCALED`].
    pub(crate) scales: &'a [f32],
}

impl<'a, E: KvElement> HeadPage<'a, E> {
    /// The keys or values in `memory`: `n_codes` numbers, then the scales.
    #[inline(always)]
    pub(crate) fn new(memory: &'a [E], n_codes: usize) -> Self {
        let (codes, scales) = memory.split_at(n_codes);
        let scales = if E::IS_SCALED { bytemuck::cast_slice(scales) } else { &[] };
        Self { vectors: codes.as_chunks().0, scales }
    }

    /// Dimension `d` of the keys of all positions.
    #[inline(always)]
    pub(crate) fn key<I: Isa>(&self, isa: I, d: usize) -> I::F32 {
        let codes = E::load(isa, &self.vectors[d]);
        if !E::IS_SCALED {
            return codes;
        }
        isa.mul(codes, isa.load(&self.scales.as_chunks().0[d / BLOCK_LEN]))
    }

    /// `V` vectors of the value in `slot`, from vector `first` of its `n_vectors` on.
    #[inline(always)]
    pub(crate) fn value<I: Isa, const V: usize>(
        &self,
        isa: I,
        slot: usize,
        n_vectors: usize,
        first: usize,
    ) -> [I::F32; V] {
        let row = &self.vectors[slot * n_vectors + first..][..V];
        let mut values = [isa.splat(0.0); V];
        for i in 0..V {
            values[i] = E::load(isa, &row[i]);
        }
        if E::IS_SCALED {
            let n_scales = (n_vectors * LANES).div_ceil(BLOCK_LEN);
            let scales = &self.scales[slot * n_scales..][..n_scales];
            for (i, value) in values.iter_mut().enumerate() {
                *value = isa.mul(*value, isa.splat(scales[(first + i) * LANES / BLOCK_LEN]));
            }
        }
        values
    }
}

impl KvElement for f32 {
    const DTYPE: KvDType = KvDType::F32;
    const IS_SCALED: bool = false;

    #[inline(always)]
    fn load<I: Isa>(isa: I, codes: &[Self; LANES]) -> I::F32 {
        isa.load(codes)
    }
    #[inline(always)]
    fn store_key<I: Isa>(_isa: I, keys: &mut [Self], _head_dim: usize, slot: usize, head: &[f32]) {
        keys.chunks_exact_mut(PAGE_LEN).zip(head).for_each(|(column, value)| column[slot] = *value);
    }
    #[inline(always)]
    fn store_value<I: Isa>(_isa: I, values: &mut [Self], slot: usize, head: &[f32]) {
        values[slot * head.len()..][..head.len()].copy_from_slice(head);
    }
}

/// F16, as bits, rounded to nearest, ties to even.
impl KvElement for u16 {
    const DTYPE: KvDType = KvDType::F16;
    const IS_SCALED: bool = false;

    #[inline(always)]
    fn load<I: Isa>(isa: I, codes: &[Self; LANES]) -> I::F32 {
        isa.load_f16(codes)
    }
    #[inline(always)]
    fn store_key<I: Isa>(isa: I, keys: &mut [Self], _head_dim: usize, slot: usize, head: &[f32]) {
        let mut values = [0; LANES];
        for (vector, columns) in head.as_chunks().0.iter().zip(keys.chunks_mut(LANES * PAGE_LEN)) {
            isa.store_f16(&mut values, isa.load(vector));
            for (column, value) in columns.chunks_exact_mut(PAGE_LEN).zip(values) {
                column[slot] = value;
            }
        }
    }
    #[inline(always)]
    fn store_value<I: Isa>(isa: I, values: &mut [Self], slot: usize, head: &[f32]) {
        let row = values[slot * head.len()..][..head.len()].as_chunks_mut().0;
        for (vector, out) in head.as_chunks().0.iter().zip(row) {
            isa.store_f16(out, isa.load(vector));
        }
    }
}

/// Codes from -127 to 127, followed by `f32` scales.
impl KvElement for i8 {
    const DTYPE: KvDType = KvDType::Q8_0;
    const IS_SCALED: bool = true;

    #[inline(always)]
    fn load<I: Isa>(isa: I, codes: &[Self; LANES]) -> I::F32 {
        isa.to_f32(isa.load_i8(codes))
    }
    #[inline(always)]
    fn store_key<I: Isa>(isa: I, keys: &mut [Self], head_dim: usize, slot: usize, head: &[f32]) {
        let (codes, scales) = keys.split_at_mut(head_dim * PAGE_LEN);
        let scales: &mut [f32] = bytemuck::cast_slice_mut(scales);
        let groups = codes.chunks_mut(BLOCK_LEN * PAGE_LEN).zip(scales.chunks_exact_mut(PAGE_LEN));
        for (x, (columns, scales)) in head.chunks(BLOCK_LEN).zip(groups) {
            let block = encode(isa, x);
            for (column, code) in columns.chunks_exact_mut(PAGE_LEN).zip(block.quads.as_flattened()) {
                column[slot] = *code;
            }
            scales[slot] = block.scale;
        }
    }
    #[inline(always)]
    fn store_value<I: Isa>(isa: I, values: &mut [Self], slot: usize, head: &[f32]) {
        let (codes, scales) = values.split_at_mut(PAGE_LEN * head.len());
        let scales: &mut [f32] = bytemuck::cast_slice_mut(scales);
        let row = &mut codes[slot * head.len()..][..head.len()];
        let n_scales = head.len().div_ceil(BLOCK_LEN);
        let scales = &mut scales[slot * n_scales..][..n_scales];
        for ((x, row), scale) in head.chunks(BLOCK_LEN).zip(row.chunks_mut(BLOCK_LEN)).zip(scales) {
            let block = encode(isa, x);
            row.copy_from_slice(&block.quads.as_flattened()[..row.len()]);
            *scale = block.scale;
        }
    }
}

/// Encodes up to 32 values.
#[inline(always)]
fn encode<I: Isa>(isa: I, x: &[f32]) -> Int8Block {
    let mut block = Int8Block::zeroed();
    let mut whole = [0.0; BLOCK_LEN];
    whole[..x.len()].copy_from_slice(x);
    encode_block(isa, &whole, &mut block);
    block
}
