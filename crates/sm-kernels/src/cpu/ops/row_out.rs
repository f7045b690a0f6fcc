//! A row on its way to the forms that its buffer keeps.

use super::encode::{BLOCK_LEN, Int8Block, encode_block};
use crate::cpu::isa::{Isa, LANES};
use crate::plan::Store;

/// The forms of one row that are written.
#[derive(Debug)]
pub(crate) struct RowOut<'a> {
    /// Whole vectors.
    pub(crate) f32: Option<&'a mut [f32]>,
    /// Half as many blocks as there are vectors.
    pub(crate) int8: Option<&'a mut [Int8Block]>,
    /// Replace or add; where rows are added to, only the `f32` form is kept.
    pub(crate) store: Store,
}

impl RowOut<'_> {
    /// Writes vector `i` as `vector(i)`, once for each in order.
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
