//! Instruction sets: the vector operations that kernels are written over.
//!
//! ```text
//!               vector of 16 lanes    dot of 8-bit codes         dot of 7-bit codes         pair of bfloat16
//! scalar        array                 loop                       loop                       two fma
//! avx2          two ymm               abs, sign, vpmaddubsw      vpmaddubsw, 16-bit sums    two fma
//! avx512        one zmm               vpmaddwd, twice            vpmaddubsw, vpmaddwd       two fma
//! avx512-vnni   one zmm               vpdpbusd                   vpdpbusd                   vdpbf16ps (AMD) or two fma
//! ```
//!
//! A kernel is a function generic over [`Isa`]. A value of an `Isa` type proves that the processor has the
//! instructions: [`Isa::detect`] is its only constructor, so the operations are safe to call.
//!
//! **Same bits on every set.** A logical vector has [`LANES`] lanes everywhere, multiply-adds are always fused, and
//! sums over lanes follow one fixed tree. What is written over this trait therefore gives the same result on every
//! processor. The price is paid by AVX2, where a logical vector takes two of 16 registers.
//!
//! **Inlining.** Everything between [`Isa::enter`] and an operation must be `#[inline(always)]`, closures included:
//! only code that ends up inside `enter` is compiled with the set's target features. Array adaptors such as
//! `array::map` are avoided around operations: where the optimizer did not inline them, byte products ran ten times
//! slower.
//!
//! Proof values as in memchr's `vector.rs` and in rten-simd; instructions as in volume 2 of the Intel SDM.

mod bf16;
mod kind;
mod scalar;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;

use bf16::FmaBf16;
pub(crate) use bf16::{Bf16Products, Bf16Visitor, MIN_BF16};
pub(crate) use kind::IsaVisitor;
pub use kind::{IsaKind, UnknownIsa};

use std::fmt::Debug;

/// Lanes of a logical vector, on every instruction set.
pub(crate) const LANES: usize = 16;

/// The vector operations of an instruction set. A value proves that the processor supports it.
pub(crate) trait Isa: Copy + Send + Sync + Debug + 'static {
    /// Whether there are 32 vector registers, room for 24 accumulators and their operands; else there is room for about
    /// 10.
    const HAS_32_REGISTERS: bool;
    /// Rows of the largest register tile that reads packed panels: 1, 4 or 8.
    const TILE_ROWS: usize;
    /// Whether [`Isa::load_f16`] competes with multiply-adds for execution units, so that many rows should share a
    /// conversion.
    const HAS_SLOW_F16_LOADS: bool;
    /// Whether dots are faster if they are first added up in 16 bits ([`Isa::dot_i16`]).
    const PREFERS_I16_SUMS: bool;
    /// What [`Isa::dot`] subtracts from each `w`: 0, or 128 where products of signed bytes are faster.
    const DOT_OFFSET: i32;
    /// [`LANES`] `f32` values.
    type F32: Copy + Debug;
    /// [`LANES`] `i32` values.
    type I32: Copy + Debug;
    /// 64 bytes: four for each lane.
    type Bytes: Copy + Debug;
    /// The set for kernels without dots, which are compiled once for sets that differ in those alone.
    type WithoutDots: Isa;

    /// The proof value, if the processor has every instruction used here.
    fn detect() -> Option<Self>;
    /// The proof value for kernels without dots.
    fn without_dots(self) -> Self::WithoutDots;
    /// Runs `f`, compiled for this instruction set.
    fn enter<R>(self, f: impl FnOnce() -> R) -> R;
    /// Prefetches the cache line at `address`, which need not be valid, into L2. L1 has too few miss buffers to cover
    /// the latency of memory.
    fn prefetch_l2<T>(self, address: *const T);
    /// Prefetches into L1 a line that an earlier [`Isa::prefetch_l2`] asked for.
    fn prefetch_l1<T>(self, address: *const T);

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
    /// `|a|`
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
        // Two factors, so that neither overflows nor underflows before the product does: only the last one rounds.
        let half = self.round(self.mul(n, self.splat(0.5)));
        let first = self.pow2(self.to_i32(half));
        let second = self.pow2(self.to_i32(self.sub(n, half)));
        self.mul(self.mul(a, first), second)
    }
    /// The sum of the lanes: halves are added until one lane is left.
    fn reduce_sum(self, v: Self::F32) -> f32;
    /// The largest lane, halves compared as by [`Isa::max`].
    fn reduce_max(self, v: Self::F32) -> f32;

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
    fn reduce_sum_i32(self, v: Self::I32) -> i32;

    /// Reads 64 bytes.
    fn load_bytes(self, xs: &[u8; 64]) -> Self::Bytes;
    /// Writes 64 bytes.
    fn store_bytes(self, xs: &mut [u8; 64], v: Self::Bytes);
    /// The lower halves of the lanes as bfloat16, widened.
    fn even_bf16(self, v: Self::Bytes) -> Self::F32;
    /// The upper halves, widened.
    fn odd_bf16(self, v: Self::Bytes) -> Self::F32;
    /// Runs `visitor` with the fastest products of bfloat16 on this processor.
    #[inline(always)]
    fn with_bf16<V: Bf16Visitor<Self>>(self, visitor: V) {
        visitor.visit(FmaBf16(self));
    }
    /// The same four bytes in all lanes.
    fn splat_quad(self, x: [i8; 4]) -> Self::Bytes;
    /// Each byte shifted left by `left` bits (right if negative), then `& mask`.
    fn shift_bytes(self, v: Self::Bytes, left: i32, mask: u8) -> Self::Bytes;
    /// `a | b`
    fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// `table[byte]` for bytes below 16.
    fn lookup(self, table: &[u8; 16], v: Self::Bytes) -> Self::Bytes;
    /// In each lane `acc` plus four products `(w - DOT_OFFSET) x`, exactly, for unsigned `w` and `-127 <= x <= 127`.
    fn dot(self, acc: Self::I32, w: Self::Bytes, x: Self::Bytes) -> Self::I32;
    /// In each lane `acc + w0 x0 + w1 x1 + w2 x2 + w3 x3`, exactly, for `0 <= w <= 127` and signed `x`.
    fn dot_7bit(self, acc: Self::I32, w: Self::Bytes, x: Self::Bytes) -> Self::I32;
    /// In the 16-bit halves of each lane `acc + w0 x0 + w1 x1` and `acc + w2 x2 + w3 x3`, modulo 2^16, for `0 <= w <=
    /// 127` and signed `x`.
    fn dot_i16(self, acc: Self::Bytes, w: Self::Bytes, x: Self::Bytes) -> Self::Bytes;
    /// In each lane `acc` plus both signed 16-bit halves of `v`.
    fn add_i16_halves(self, acc: Self::I32, v: Self::Bytes) -> Self::I32;
}
