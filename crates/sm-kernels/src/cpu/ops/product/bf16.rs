//! Products with BF16 weights: pairs of columns, through the register tiles of `float.rs`.
//!
//! Weights are bound by what `vdpbf16ps` or two fused multiply-adds per pair take; activations are rounded to pairs before
//! (`activations/bf16.rs`). Without the instruction a pair takes two stages, all rows of the tile through the odd columns and
//! then through the even ones: with both in registers at once a tile does not fit those of AVX2.

use super::float::{FloatColumns, multiply_with};
use super::panel::PanelProduct;
use crate::cpu::isa::{Bf16Products, Bf16Visitor, Isa, LANES};

/// Pairs of columns.
#[derive(Clone, Copy)]
struct Bf16Columns<B>(B);

impl<I: Isa, B: Bf16Products<I>> FloatColumns<I> for Bf16Columns<B> {
    const STAGES: usize = B::STAGES;
    type Stored = [u16; 2];
    type Weights = B::Weights;
    type X = B::Pair;

    #[inline(always)]
    fn load(self, isa: I, stored: &[[u16; 2]; LANES], stage: usize) -> B::Weights {
        self.0.weights(isa.load_bytes(bytemuck::cast_ref(stored)), stage)
    }
    #[inline(always)]
    fn add(self, _isa: I, acc: I::F32, w: B::Weights, x: B::Pair, stage: usize) -> I::F32 {
        self.0.add(acc, w, x, stage)
    }
}

impl<I: Isa> Bf16Visitor<I> for PanelProduct<'_, I> {
    fn visit<B: Bf16Products<I>>(self, products: B) {
        let Self { input, panels, .. } = self;
        let first = self.rows.start;
        let n_pairs = panels.cols.div_ceil(2);
        products.enter(
            #[inline(always)]
            || {
                multiply_with(
                    self,
                    Bf16Columns(products),
                    #[inline(always)]
                    |row| &bytemuck::cast_slice(input.bf16_row(first + row, panels.cols))[..n_pairs],
                );
            },
        );
    }
}
