//! Products of bfloat16, two columns at a time.
//!
//! ```text
//! acc = fma(w[0], x[0], fma(w[1], x[1], acc))        the odd column first
//! ```
//!
//! That is what `vdpbf16ps` computes (Intel SDM, volume 2), but for numbers near the least normal one: it reads subnormal
//! inputs as zero and flushes subnormal results. [`MIN_BF16`] keeps all sums clear of that range, so the instruction and two
//! fused multiply-adds give the same bits. On Zen 4 the instruction agreed with them in 16 million random cases.
//!
//! Which is used depends on the processor: on AMD the instruction does two products in the time of one multiply-add, on Intel
//! it has half the throughput of multiply-adds, and elsewhere it does not exist.

use bytemuck::Pod;

use super::Isa;

/// A way to multiply pairs of bfloat16 and add them up. All give the same bits, provided that each factor is zero or has a
/// magnitude of at least [`MIN_BF16`].
pub(crate) trait Bf16Products<I: Isa>: Copy {
    /// Two neighbouring activations of a row.
    type Pair: Pod;
    /// A pair, from the bits of both values.
    fn pair(values: [u16; 2]) -> Self::Pair;
    /// As [`Isa::enter`].
    fn enter<R>(self, f: impl FnOnce() -> R) -> R;
    /// Stages in which a pair is added: a tile takes all rows through one stage after the other, so that the weights of only one
    /// stage are in registers.
    const STAGES: usize;
    /// The weights of a stage, in registers.
    type Weights: Copy;
    /// Takes the weights of a stage from 16 pairs.
    fn weights(self, pairs: I::Bytes, stage: usize) -> Self::Weights;
    /// Adds the products of a stage. All stages together: in each lane `fma(w[0], x[0], fma(w[1], x[1], acc))`.
    fn add(self, acc: I::F32, w: Self::Weights, x: Self::Pair, stage: usize) -> I::F32;
}

/// The least non-zero magnitude of a bfloat16 factor, `2^-55`.
///
/// A bfloat16 has 8 significant bits, so a factor of at least `2^-55` is a multiple of `2^-62`, a product of two a multiple of
/// `2^-124`, and so is every rounded sum of products. No sum then lies strictly between zero and the least normal number
/// `2^-126`, where `vdpbf16ps` flushes to zero and a fused multiply-add does not.
pub(crate) const MIN_BF16: f32 = 1.0 / (1_u64 << 55) as f32;

/// A computation that is generic over the products of bfloat16.
pub(crate) trait Bf16Visitor<I: Isa> {
    /// Runs the computation.
    fn visit<B: Bf16Products<I>>(self, products: B);
}

/// Products by two fused multiply-adds in single precision, in which a product of two bfloat16 is exact.
#[derive(Clone, Copy, Debug)]
pub(super) struct FmaBf16<I>(pub(super) I);

impl<I: Isa> Bf16Products<I> for FmaBf16<I> {
    type Pair = [f32; 2];
    const STAGES: usize = 2;
    type Weights = I::F32;

    #[inline(always)]
    fn pair(values: [u16; 2]) -> [f32; 2] {
        values.map(
            #[inline(always)]
            |bits| f32::from_bits(u32::from(bits) << 16),
        )
    }
    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.enter(f)
    }
    #[inline(always)]
    fn weights(self, pairs: I::Bytes, stage: usize) -> I::F32 {
        if stage == 0 { self.0.odd_bf16(pairs) } else { self.0.even_bf16(pairs) }
    }
    #[inline(always)]
    fn add(self, acc: I::F32, w: I::F32, x: [f32; 2], stage: usize) -> I::F32 {
        self.0.mul_add(w, self.0.splat(x[1 - stage]), acc)
    }
}
