//! Products with weights in BF16: activations are rounded to it, and pairs of columns are multiplied and added at a time.

use super::Multiply;
use super::float::{Columns, multiply_with};
use crate::cpu::isa::{Bf16Products, Bf16Visitor, Isa, LANES};

/// Pairs of columns.
#[derive(Clone, Copy)]
struct Pairs<B>(B);

impl<I: Isa, B: Bf16Products<I>> Columns<I> for Pairs<B> {
    const STEPS: usize = B::STEPS;
    type Stored = [u16; 2];
    type Weights = B::Weights;
    type X = B::Pair;

    #[inline(always)]
    fn load(self, isa: I, stored: &[[u16; 2]; LANES], step: usize) -> B::Weights {
        self.0.weights(isa.load_bytes(bytemuck::cast_ref(stored)), step)
    }
    #[inline(always)]
    fn add(self, _isa: I, acc: I::F32, (w, x): (B::Weights, B::Pair), step: usize) -> I::F32 {
        self.0.add(acc, w, x, step)
    }
}

impl<I: Isa> Bf16Visitor<I> for Multiply<'_, I> {
    fn visit<B: Bf16Products<I>>(self, products: B) {
        let Self { input, panels, .. } = self;
        let first = self.rows.start;
        let n_pairs = panels.cols.div_ceil(2);
        products.enter(
            #[inline(always)]
            || {
                multiply_with(
                    self,
                    Pairs(products),
                    #[inline(always)]
                    |row| &bytemuck::cast_slice(input.bf16_row(first + row, panels.cols))[..n_pairs],
                );
            },
        );
    }
}
