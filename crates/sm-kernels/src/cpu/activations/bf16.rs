//! Activations rounded to bfloat16, in pairs of neighbouring columns: what products with BF16 weights read.
//!
//! ```text
//! pair[k] = (bf16(x[2k]), bf16(x[2k + 1]))        ties to even, |x| < 2^-55 becomes 0
//! ```
//!
//! A phase of its own rounds each row once before the product. Rounding inside the product, anew in each of the parts
//! that workers claim, took an eighth of a prompt's time.
//!
//! Why magnitudes below 2^-55 vanish is told at [`MIN_BF16`]; why activations are rounded at all, in docs/numerics.md.

use crate::cpu::isa::{Bf16Products, Bf16Visitor, Isa, MIN_BF16};

/// Storage for one pair, whatever the instruction set makes of it: large enough for each [`Bf16Products::Pair`].
pub(crate) type Bf16Slot = [f32; 2];

/// Slots from one row to the next: a cache line more than a row takes, because rows a power of two apart would compete for
/// the same cache sets.
pub(crate) const fn stride(cols: usize) -> usize {
    cols.div_ceil(2) + 64 / size_of::<Bf16Slot>()
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

/// Rounds a row to the pairs that the instruction set multiplies: `out` is `[stride(x.len())]`.
pub(crate) fn round_row<I: Isa>(isa: I, x: &[f32], out: &mut [Bf16Slot]) {
    isa.with_bf16(RoundRow { x, out });
}

struct RoundRow<'a> {
    x: &'a [f32],
    out: &'a mut [Bf16Slot],
}

impl<I: Isa> Bf16Visitor<I> for RoundRow<'_> {
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
