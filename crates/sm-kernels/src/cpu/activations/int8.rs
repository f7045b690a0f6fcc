//! Activations as int8 blocks: what products with quantized weights read.
//!
//! ```text
//! block of 32:   x[i] ≈ scale * code[i]        scale = max |x| / 127,   -127 <= code <= 127
//! ```
//!
//! A weight is `scale_w * (code_w - offset) - min_w`, with unsigned codes, so a block adds to an output
//!
//! ```text
//! scale_w * scale * (sum code_w code - offset * sum code)  -  min_w * scale * sum code
//! ```
//!
//! The sums over the activations alone are the same for all outputs. They are stored with the block, negated, ready to
//! start an accumulator or to be multiplied with a minimum.
//!
//! Rows are encoded once, by the op that produces them, and not by each product that reads them. Codes never are -128:
//! the products of AVX2 move signs between the factors, and 128 would not fit.
//!
//! A block with an infinity or NaN has no codes. It becomes zeros with a scale of NaN, so that every product with it is NaN
//! and the broken model is noticed, on every instruction set alike.
//!
//! Sources: Q8_0 of ggml for the encoding; Jacob et al. 2018 (arXiv 1712.05877), section 2.3, for the sums.

use bytemuck::{Pod, Zeroable};

use crate::cpu::isa::{Isa, LANES};

/// Values in an int8 block.
pub(crate) const BLOCK_LEN: usize = 32;

/// 32 values of a row: `code * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Int8Block {
    /// Codes from -127 to 127, in the groups of four that a byte product takes.
    pub(crate) quads: [[i8; 4]; BLOCK_LEN / 4],
    /// The largest magnitude of the block / 127.
    pub(crate) scale: f32,
    /// Minus the sum of the codes.
    pub(crate) neg_sum: i32,
    /// Minus the sums of the first and of the second 16 codes.
    pub(crate) neg_half_sums: [i32; 2],
    /// `neg_sum * scale`
    pub(crate) neg_scaled_sum: f32,
}

/// The largest magnitude below which all of a block is zero: 2^-121, since 127 / 2^-122 is no number of single precision.
const SMALLEST: f32 = 32.0 * f32::MIN_POSITIVE;

impl Int8Block {
    /// A block of zeros.
    #[cfg(test)]
    pub(crate) const ZERO: Self = Self {
        quads: [[0; 4]; BLOCK_LEN / 4],
        scale: 0.0,
        neg_sum: 0,
        neg_half_sums: [0; 2],
        neg_scaled_sum: 0.0,
    };

    /// A block whose values are all NaN.
    const NAN: Self = Self {
        quads: [[0; 4]; BLOCK_LEN / 4],
        scale: f32::NAN,
        neg_sum: 0,
        neg_half_sums: [0; 2],
        neg_scaled_sum: f32::NAN,
    };

    /// The values.
    pub(crate) fn decode(&self) -> [f32; BLOCK_LEN] {
        let codes = self.quads.as_flattened();
        std::array::from_fn(|i| f32::from(codes[i]) * self.scale)
    }
}

/// Encodes one row: `x` is `[n * 32]`, `out` is `[n]`.
///
/// # Panics
/// If the lengths do not match.
#[inline(always)]
pub(crate) fn encode_row<I: Isa>(isa: I, x: &[f32], out: &mut [Int8Block]) {
    let (blocks, rest) = x.as_chunks::<BLOCK_LEN>();
    assert!(rest.is_empty() && blocks.len() == out.len(), "{} values for {} int8 blocks", x.len(), out.len());
    for (x, out) in blocks.iter().zip(out) {
        encode_block(isa, x, out);
    }
}

/// Encodes one block.
#[inline(always)]
pub(crate) fn encode_block<I: Isa>(isa: I, x: &[f32; BLOCK_LEN], out: &mut Int8Block) {
    let halves = x.as_chunks::<LANES>().0;
    let a = isa.load(&halves[0]);
    let b = isa.load(&halves[1]);
    let largest = isa.reduce_max(isa.max(isa.abs(a), isa.abs(b)));
    // A block of zeros, or of values so small that the quotient would overflow, encodes to zeros.
    let inverse = if largest < SMALLEST { 0.0 } else { 127.0 / largest };
    let inverse = isa.splat(inverse);
    let a = isa.to_i32(isa.mul(a, inverse));
    let b = isa.to_i32(isa.mul(b, inverse));
    let codes = out.quads.as_flattened_mut().as_chunks_mut::<LANES>().0;
    isa.store_i8(&mut codes[0], a);
    isa.store_i8(&mut codes[1], b);
    // Whatever the largest magnitude was found to be, a NaN, or an infinity times 0, converts to the lowest integer.
    if out.quads.as_flattened().contains(&i8::MIN) {
        *out = Int8Block::NAN;
        return;
    }
    out.scale = largest / 127.0;
    out.neg_half_sums = [-isa.reduce_sum_i32(a), -isa.reduce_sum_i32(b)];
    out.neg_sum = out.neg_half_sums[0] + out.neg_half_sums[1];
    out.neg_scaled_sum = out.neg_sum as f32 * out.scale;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::{IsaKind, IsaVisitor};

    struct Encode<'a>(&'a [f32]);

    impl IsaVisitor for Encode<'_> {
        type Output = Vec<Int8Block>;
        fn visit<I: Isa>(self, isa: I) -> Vec<Int8Block> {
            let mut out = vec![Int8Block::ZERO; self.0.len() / BLOCK_LEN];
            isa.enter(
                #[inline(always)]
                || encode_row(isa, self.0, &mut out),
            );
            out
        }
    }

    #[test]
    fn blocks_decode_within_half_a_step_and_have_exact_sums() {
        let mut x: Vec<f32> =
            (0..320).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.013 * (i / 32 + 1) as f32).collect();
        x[64..96].fill(0.0);
        x[96..128].fill(-1e-40);
        x[128] = 3e38;
        x[160..192].fill(2e-38);
        x[192..224].fill(-4e-37);
        let want = IsaKind::Scalar.dispatch(Encode(&x));
        for (x, block) in x.as_chunks::<BLOCK_LEN>().0.iter().zip(&want) {
            let largest = x.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!((block.scale - largest / 127.0).abs() <= largest * f32::EPSILON);
            for (value, decoded) in x.iter().zip(block.decode()) {
                assert!(
                    (value - decoded).abs() <= largest / 254.0 * 1.0001 + SMALLEST,
                    "{value} became {decoded}"
                );
            }
            let codes = block.quads.as_flattened();
            let neg_sum = |codes: &[i8]| -codes.iter().map(|&code| i32::from(code)).sum::<i32>();
            assert_eq!(block.neg_half_sums, [neg_sum(&codes[..16]), neg_sum(&codes[16..])]);
            assert_eq!(block.neg_sum, neg_sum(codes));
            assert_eq!(block.neg_scaled_sum, neg_sum(codes) as f32 * block.scale);
        }
        for kind in IsaKind::available() {
            assert_eq!(kind.dispatch(Encode(&x)), want, "{kind}");
        }
    }

    #[test]
    fn a_block_that_is_not_finite_decodes_to_nan_on_every_instruction_set() {
        for wild in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            for places in [&[0][..], &[31], &[3, 20], &[15, 16, 17], &[0, 8, 16, 24]] {
                let mut x = [1.0; 3 * BLOCK_LEN];
                places.iter().for_each(|place| x[BLOCK_LEN + place] = wild);
                for kind in IsaKind::available() {
                    let blocks = kind.dispatch(Encode(&x));
                    assert!(
                        blocks[1].decode().iter().all(|value| value.is_nan()),
                        "{kind}, {wild} at {places:?}"
                    );
                    assert!(blocks[1].neg_scaled_sum.is_nan() && blocks[1].neg_sum == 0);
                    assert_eq!((blocks[0], blocks[2].decode()), (blocks[2], [1.0; BLOCK_LEN]));
                }
            }
        }
    }
}
