//! Instruction sets: the vector operations that kernels may use, and the choice of a set at run time.
//!
//! A kernel is a function generic over [`Isa`]. A value of an `Isa` type proves that the processor has its
//! instructions: [`Isa::detect`] is the only way to get one, so the operations are safe to call. A logical vector has
//! [`LANES`] lanes on every set, every operation gives the same bits on every set, and sums over lanes follow one
//! fixed tree: whatever is written over this trait gives the same result everywhere.
//!
//! Everything between [`Isa::enter`] and an operation must be `#[inline(always)]`, closures too: that is how the code
//! comes to be compiled for the instruction set.

mod scalar;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;

use std::fmt::{self, Debug};
use std::str::FromStr;

use bytemuck::Pod;

/// Lanes of a logical vector, on every instruction set.
pub(crate) const LANES: usize = 16;

/// Vector operations of an instruction set; a value is the proof that the processor has it.
pub(crate) trait Isa: Copy + Send + Sync + Debug + 'static {
    /// Whether there are registers for 24 accumulators and their operands; else for about 10.
    const MANY_REGISTERS: bool;
    /// The most rows of a tile of a quantized product, as far as registers go: 1, 4 or 8.
    const TILE_ROWS: usize;
    /// Whether [`Isa::load_f16`] takes the time of multiplications, so that many rows had better share what it gives.
    const HAS_SLOW_F16: bool;
    /// Whether sums of [`Isa::dot_short`] are quicker than [`Isa::dot`].
    const HAS_QUICK_SHORTS: bool;
    /// What [`Isa::dot`] takes off each `w`: 0, or 128 where products of signed bytes are quicker.
    const DOT_OFFSET: i32;
    /// [`LANES`] `f32` values.
    type F32: Copy + Debug;
    /// [`LANES`] `i32` values.
    type I32: Copy + Debug;
    /// 64 bytes: four for each lane.
    type Bytes: Copy + Debug;

    /// The proof, if the processor has every instruction used here.
    fn detect() -> Option<Self>;
    /// Runs `f` compiled for this instruction set.
    fn enter<R>(self, f: impl FnOnce() -> R) -> R;
    /// Asks for the cache line at `address`, which need not be valid, in the second-level cache. Requests to the first
    /// level are too few at a time to fill the memory's latency.
    fn prefetch<T>(self, address: *const T);
    /// The same in the first-level cache, for lines that are on their way to the second.
    fn prefetch_near<T>(self, address: *const T);

    /// Reads 16 values.
    fn load(self, xs: &[f32; LANES]) -> Self::F32;
    /// Writes 16 values.
    fn store(self, xs: &mut [f32; LANES], v: Self::F32);
    /// Reads 16 half-precision values.
    fn load_f16(self, xs: &[u16; LANES]) -> Self::F32;
    /// Writes 16 half-precision values, rounded to nearest even.
    fn store_f16(self, xs: &mut [u16; LANES], v: Self::F32);
    /// Reads 16 signed bytes.
    fn load_i8(self, xs: &[i8; LANES]) -> Self::I32;
    /// Reads 16 unsigned bytes.
    fn load_u8(self, xs: &[u8; LANES]) -> Self::I32;
    /// Writes 16 values that fit a signed byte.
    fn store_i8(self, xs: &mut [i8; LANES], v: Self::I32);
    /// The same value in all lanes.
    fn splat(self, x: f32) -> Self::F32;

    /// `a + b`
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, rounded once
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `c - a * b`, rounded once
    fn neg_mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `if a > b { a } else { b }`
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `if a < b { a } else { b }`
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Without the sign.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::F32;
    /// `if a < b { yes } else { no }`
    fn select_lt(self, a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32;
    /// To integers, ties to even; `i32::MIN` where the result does not fit.
    fn to_i32(self, a: Self::F32) -> Self::I32;
    /// `2^n`, for `-126 <= n <= 127`.
    fn pow2(self, n: Self::I32) -> Self::F32;
    /// `a * 2^n` for whole numbers `-200 <= n <= 200`, rounded once, if `a` has a magnitude from 0.5 to 2, or is NaN.
    #[inline(always)]
    fn scale_by_pow2(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        // In two steps, so that results near both ends of the range come out right: only the second is rounded.
        let half = self.round(self.mul(n, self.splat(0.5)));
        let first = self.pow2(self.to_i32(half));
        let second = self.pow2(self.to_i32(self.sub(n, half)));
        self.mul(self.mul(a, first), second)
    }
    /// The sum of the lanes: halves are added until one lane is left.
    fn sum(self, v: Self::F32) -> f32;
    /// The largest lane, halves compared as [`Isa::max`] does.
    fn max_lane(self, v: Self::F32) -> f32;

    /// The same value in all lanes.
    fn splat_i32(self, x: i32) -> Self::I32;
    /// `a & mask`
    fn and_i32(self, a: Self::I32, mask: i32) -> Self::I32;
    /// `a << n`
    fn shl_i32(self, a: Self::I32, n: u32) -> Self::I32;
    /// `a >> n`, zeros shifted in
    fn shr_i32(self, a: Self::I32, n: u32) -> Self::I32;
    /// To `f32`, rounded to nearest even.
    fn to_f32(self, a: Self::I32) -> Self::F32;
    /// The sum of the lanes, wrapping.
    fn sum_i32(self, v: Self::I32) -> i32;

    /// Reads 64 bytes.
    fn load_bytes(self, xs: &[u8; 64]) -> Self::Bytes;
    /// Writes 64 bytes.
    fn store_bytes(self, xs: &mut [u8; 64], v: Self::Bytes);
    /// The lower halves of the lanes of `v`, as bfloat16.
    fn even_bf16(self, v: Self::Bytes) -> Self::F32;
    /// The upper halves.
    fn odd_bf16(self, v: Self::Bytes) -> Self::F32;
    /// Runs `visitor` with what is quickest for pairs of bfloat16.
    #[inline(always)]
    fn with_bf16<V: Bf16Visitor<Self>>(self, visitor: V) {
        visitor.visit(Widened(self));
    }
    /// Four bytes, repeated for each lane.
    fn splat_quad(self, x: [i8; 4]) -> Self::Bytes;
    /// Each byte shifted left by `left` bits (right if negative), then `& mask`.
    fn shift_bytes(self, v: Self::Bytes, left: i32, mask: u8) -> Self::Bytes;
    /// `a | b`
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// `table[byte]` for bytes below 16.
    fn lookup(self, table: &[u8; 16], v: Self::Bytes) -> Self::Bytes;
    /// In each lane `acc` plus four products `(w - DOT_OFFSET) x`, exactly, with unsigned `w`, and `x` from -127 to 127.
    fn dot(self, acc: Self::I32, w: Self::Bytes, x: Self::Bytes) -> Self::I32;
    /// In each lane `acc + w0 x0 + w1 x1 + w2 x2 + w3 x3`, exactly, with `w` from 0 to 127 and signed `x`.
    fn dot_7bit(self, acc: Self::I32, w: Self::Bytes, x: Self::Bytes) -> Self::I32;
    /// In the halves of each lane, 16 bits each and modulo 2^16, `acc` plus `w0 x0 + w1 x1` and `w2 x2 + w3 x3`, with `w`
    /// from 0 to 127 and signed `x`.
    fn dot_short(self, acc: Self::Bytes, w: Self::Bytes, x: Self::Bytes) -> Self::Bytes;
    /// In each lane `acc` plus both 16-bit halves of `v`, signed.
    fn add_halves(self, acc: Self::I32, v: Self::Bytes) -> Self::I32;
}

/// How pairs of bfloat16 are multiplied. Where each factor is zero or has a magnitude of [`MIN_BF16`] or more, all give the same
/// bits: no sum of such products lies between zero and the least normal number, where some instructions round to zero.
pub(crate) trait Bf16Products<I: Isa>: Copy {
    /// Two neighbouring values of a row.
    type Pair: Pod;
    /// Of the bits of both.
    fn pair(values: [u16; 2]) -> Self::Pair;
    /// As [`Isa::enter`].
    fn enter<R>(self, f: impl FnOnce() -> R) -> R;
    /// In each lane `w[0] x[0] + (w[1] x[1] + acc)`, each product and sum rounded once, in so many steps.
    const STEPS: usize;
    /// What a step needs of the weights.
    type Weights: Copy;
    /// Of pairs of weights.
    fn weights(self, pairs: I::Bytes, step: usize) -> Self::Weights;
    /// A step.
    fn add(self, acc: I::F32, w: Self::Weights, x: Self::Pair, step: usize) -> I::F32;
}

/// The least magnitude that weights and activations of bfloat16 have in products, `2^-55`: with 8 bits each, products are multiples
/// of `2^-124`, and so are their sums, rounded or not.
pub(crate) const MIN_BF16: f32 = 1.0 / (1_u64 << 55) as f32;

/// A computation that is generic over the products of bfloat16.
pub(crate) trait Bf16Visitor<I: Isa> {
    /// Runs it.
    fn visit<B: Bf16Products<I>>(self, products: B);
}

/// Products of single precision: those of two bfloat16 are exact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widened<I>(I);

impl<I: Isa> Bf16Products<I> for Widened<I> {
    type Pair = [f32; 2];
    const STEPS: usize = 2;
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
    fn weights(self, pairs: I::Bytes, step: usize) -> I::F32 {
        if step == 0 { self.0.odd_bf16(pairs) } else { self.0.even_bf16(pairs) }
    }
    #[inline(always)]
    fn add(self, acc: I::F32, w: I::F32, x: [f32; 2], step: usize) -> I::F32 {
        self.0.mul_add(w, self.0.splat(x[1 - step]), acc)
    }
}

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IsaKind {
    /// Plain Rust, on any processor.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same with VNNI.
    Avx512Vnni,
}

/// A computation that is generic over the instruction set.
pub(crate) trait IsaVisitor {
    /// What it gives.
    type Output;
    /// Runs it with `isa`.
    fn visit<I: Isa>(self, isa: I) -> Self::Output;
}

/// An instruction set that is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set {found:?}; known: {}", IsaKind::ALL.map(IsaKind::name).join(", "))]
pub struct UnknownIsa {
    /// The name that was met.
    pub found: String,
}

impl IsaKind {
    /// Every instruction set, the fastest last.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Vnni];

    /// The name in configurations and fingerprints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        struct Nothing;
        impl IsaVisitor for Nothing {
            type Output = ();
            fn visit<I: Isa>(self, _isa: I) {}
        }
        self.try_dispatch(Nothing).is_some()
    }

    /// Those that this processor has, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| kind.is_available())
    }

    /// The fastest that this processor has.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Runs `visitor` with the proof of this instruction set.
    ///
    /// # Panics
    /// If the processor lacks it: whoever lets a user choose checks [`IsaKind::is_available`].
    pub(crate) fn dispatch<V: IsaVisitor>(self, visitor: V) -> V::Output {
        self.try_dispatch(visitor).unwrap_or_else(|| panic!("this processor has no {self}"))
    }

    #[cfg(target_arch = "x86_64")]
    fn try_dispatch<V: IsaVisitor>(self, visitor: V) -> Option<V::Output> {
        match self {
            Self::Scalar => scalar::Scalar::detect().map(|isa| visitor.visit(isa)),
            Self::Avx2 => avx2::Avx2::detect().map(|isa| visitor.visit(isa)),
            Self::Avx512 => avx512::Avx512::detect().map(|isa| visitor.visit(isa)),
            Self::Avx512Vnni => avx512_vnni::Avx512Vnni::detect().map(|isa| visitor.visit(isa)),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn try_dispatch<V: IsaVisitor>(self, visitor: V) -> Option<V::Output> {
        match self {
            Self::Scalar => scalar::Scalar::detect().map(|isa| visitor.visit(isa)),
            Self::Avx2 | Self::Avx512 | Self::Avx512Vnni => None,
        }
    }
}

impl fmt::Display for IsaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for IsaKind {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownIsa { found: name.to_owned() })
    }
}
