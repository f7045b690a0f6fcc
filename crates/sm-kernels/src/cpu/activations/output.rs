//! Where ops write: a part's columns of all rows, or a whole row, in every encoding that the buffer keeps.

use std::ops::Range;

use super::int8::{BLOCK_LEN, Int8Block, encode_block, encode_row};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::split::Share;
use crate::plan::Store;

/// A part's columns of an output: the same columns in each encoding that the buffer keeps.
#[derive(Debug)]
pub(crate) struct OutputColumns<'a> {
    /// `[n_rows, columns]`, columns in multiples of 32.
    pub(crate) f32: Option<Share<'a, f32>>,
    /// `[n_rows, columns / 32]`; the width of the output is then a multiple of 32.
    pub(crate) int8: Option<Share<'a, Int8Block>>,
}

impl OutputColumns<'_> {
    /// The columns of this part, for an output `width` columns wide.
    pub(crate) fn columns(&self, width: usize) -> Range<usize> {
        let columns = match (&self.f32, &self.int8) {
            (Some(values), _) => values.columns(),
            (None, Some(blocks)) => blocks.columns().start * BLOCK_LEN..blocks.columns().end * BLOCK_LEN,
            (None, None) => 0..0,
        };
        if let Some(blocks) = &self.int8 {
            assert!(width.is_multiple_of(BLOCK_LEN), "{width} columns are not whole int8 blocks");
            assert_eq!(
                columns.start,
                blocks.columns().start * BLOCK_LEN,
                "all encodings of a buffer are split alike"
            );
        }
        columns.start.min(width)..columns.end.min(width)
    }

    /// Stores `columns` of a row in every encoding; `values` is padded to whole vectors.
    #[inline(always)]
    pub(crate) fn put<I: Isa>(
        &mut self,
        isa: I,
        row: usize,
        columns: &Range<usize>,
        values: &[f32],
        store: Store,
    ) {
        if let Some(share) = &mut self.f32 {
            let first = share.columns().start;
            let out = &mut share.row_mut(row)[columns.start - first..columns.end - first];
            match store {
                Store::Write => out.copy_from_slice(&values[..columns.len()]),
                Store::Add => add_assign(isa, out, values),
            }
        }
        if let Some(share) = &mut self.int8 {
            let first = share.columns().start;
            let blocks = columns.start / BLOCK_LEN - first..columns.end / BLOCK_LEN - first;
            encode_row(isa, &values[..columns.len()], &mut share.row_mut(row)[blocks]);
        }
    }
}

/// Writes one row in every encoding that its buffer keeps.
#[derive(Debug)]
pub(crate) struct RowWriter<'a> {
    /// Whole vectors.
    pub(crate) f32: Option<&'a mut [f32]>,
    /// Half as many blocks as there are vectors.
    pub(crate) int8: Option<&'a mut [Int8Block]>,
    /// Replace or add; a buffer that is added to has only the `f32` encoding.
    pub(crate) store: Store,
}

impl RowWriter<'_> {
    /// Writes `vector(i)` as vector `i` of the row; calls it once for each, in order.
    #[inline(always)]
    pub(crate) fn write<I: Isa>(&mut self, isa: I, mut vector: impl FnMut(usize) -> I::F32) {
        let mut vectors = self.f32.as_deref_mut().map(|row| row.as_chunks_mut::<LANES>().0);
        let Some(blocks) = self.int8.as_deref_mut() else {
            for (index, out) in vectors.into_iter().flatten().enumerate() {
                let mut v = vector(index);
                if self.store == Store::Add {
                    v = isa.add(isa.load(out), v);
                }
                isa.store(out, v);
            }
            return;
        };
        let mut values = [0.0; BLOCK_LEN];
        for (index, block) in blocks.iter_mut().enumerate() {
            for (half, values) in values.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let v = vector(2 * index + half);
                isa.store(values, v);
                if let Some(vectors) = &mut vectors {
                    isa.store(&mut vectors[2 * index + half], v);
                }
            }
            encode_block(isa, &values, block);
        }
    }
}

/// `out += values`
#[inline(always)]
pub(crate) fn add_assign<I: Isa>(isa: I, out: &mut [f32], values: &[f32]) {
    let (vectors, rest) = out.as_chunks_mut::<LANES>();
    let (values, rest_values) = values.split_at(vectors.len() * LANES);
    for (out, values) in vectors.iter_mut().zip(values.as_chunks::<LANES>().0) {
        isa.store(out, isa.add(isa.load(out), isa.load(values)));
    }
    for (out, value) in rest.iter_mut().zip(rest_values) {
        *out += value;
    }
}
