//! Products with weights in BF16: activations are rounded to it, and pairs of columns are multiplied and added at a time.

use std::ops::Range;

use super::float::{Columns, multiply_with};
use super::{Input, Multiply};
use crate::isa::{Bf16Products, Bf16Visitor, Isa, LANES, MIN_BF16};

/// Room for a [`Bf16Products::Pair`].
pub(super) type AnyPair = [f32; 2];

/// Rounds to bfloat16, ties to even; magnitudes below [`MIN_BF16`] become zero.
#[inline(always)]
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let or_nan = if magnitude > f32::INFINITY.to_bits() { bits >> 16 | 0x40 } else { rounded };
    if magnitude < MIN_BF16.to_bits() { 0 } else { or_nan as u16 }
}

/// Writes rows of `cols` columns, rounded, as the products of the instruction set take them.
pub(super) fn round_rows<I: Isa>(
    isa: I,
    (input, cols): (&Input<'_>, usize),
    rows: Range<usize>,
    pairs: &mut [AnyPair],
) {
    isa.with_bf16(Round { input, cols, rows, pairs });
}

struct Round<'a> {
    input: &'a Input<'a>,
    cols: usize,
    rows: Range<usize>,
    pairs: &'a mut [AnyPair],
}

impl<I: Isa> Bf16Visitor<I> for Round<'_> {
    fn visit<B: Bf16Products<I>>(self, products: B) {
        let Self { input, cols, rows, pairs } = self;
        let pairs: &mut [B::Pair] = bytemuck::cast_slice_mut(pairs);
        products.enter(
            #[inline(always)]
            || {
                for (row, out) in rows.zip(pairs.chunks_exact_mut(cols.div_ceil(2))) {
                    let (whole, rest) = input.f32_row(row, cols).as_chunks::<2>();
                    for (out, x) in out.iter_mut().zip(whole) {
                        *out = B::pair([round(x[0]), round(x[1])]);
                    }
                    if let (Some(out), [x]) = (out.last_mut(), rest) {
                        *out = B::pair([round(*x), 0]);
                    }
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
        let n_pairs = self.panels.cols.div_ceil(2);
        let pairs: &[B::Pair] = bytemuck::cast_slice(self.pairs);
        products.enter(
            #[inline(always)]
            || {
                multiply_with(
                    self,
                    Pairs(products),
                    #[inline(always)]
                    |row| &pairs[row * n_pairs..][..n_pairs],
                );
            },
        );
    }
}
