//! Products with weights in BF16: activations are rounded to it, and pairs of columns are multiplied and added at a time.

use super::Multiply;
use super::float::{Columns, multiply_with};
use crate::cpu::isa::{Bf16Products, Bf16Visitor, Isa, LANES, MIN_BF16};

/// Room for a [`Bf16Products::Pair`].
pub(crate) type AnyPair = [f32; 2];

/// Pairs from row to row, a cache line more than a row has: rows a power of two apart would meet in few places of a cache.
pub(crate) const fn stride(cols: usize) -> usize {
    cols.div_ceil(2) + 64 / size_of::<AnyPair>()
}

/// Rounds to bfloat16, ties to even; magnitudes below [`MIN_BF16`] become zero.
#[inline(always)]
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let or_nan = if magnitude > f32::INFINITY.to_bits() { bits >> 16 | 0x40 } else { rounded };
    if magnitude < MIN_BF16.to_bits() { 0 } else { or_nan as u16 }
}

/// Rounds a row, as the products of the instruction set take it: `out` is `[stride(x.len())]`.
pub(crate) fn round_row<I: Isa>(isa: I, x: &[f32], out: &mut [AnyPair]) {
    isa.with_bf16(Round { x, out });
}

struct Round<'a> {
    x: &'a [f32],
    out: &'a mut [AnyPair],
}

impl<I: Isa> Bf16Visitor<I> for Round<'_> {
    fn visit<B: Bf16Products<I>>(self, products: B) {
        let pairs: &mut [B::Pair] = bytemuck::cast_slice_mut(self.out);
        products.enter(
            #[inline(always)]
            || {
                let (whole, rest) = self.x.as_chunks::<2>();
                for (pair, x) in pairs.iter_mut().zip(whole) {
                    *pair = B::pair([round(x[0]), round(x[1])]);
                }
                if let [x] = rest {
                    pairs[whole.len()] = B::pair([round(*x), 0]);
                }
            },
        );
    }
}

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
        let (first, n_pairs) = (self.rows.start, panels.cols.div_ceil(2));
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
