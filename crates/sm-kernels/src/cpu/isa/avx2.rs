//! AVX2 with FMA and F16C: a logical vector is two registers, and there are 16.
//!
//! # Dots of bytes
//!
//! ```text
//! w, x              vpmaddubsw            vpmaddwd with ones     vpaddd
//! 32 u8 × 32 i8  →  16 sums of 2 (i16) →  8 sums of 4 (i32)   →  accumulator
//! ```
//!
//! `vpmaddubsw` saturates at 16 bits. Two products of 127 × 128 fit, two of 255 × 127 do not, hence three variants:
//!
//! * [`Isa::dot_7bit`]: codes below 128 as above.
//! * [`Isa::dot_i16`]: codes of few bits; sums of several steps fit 16 bits, so `vpmaddwd` is paid once for all of
//!   them.
//! * [`Isa::dot`]: codes of 8 bits minus 128, whose sign goes over to `x`: `|w| · sign(w) x`, as in ggml. Widening both
//!   factors to 16 bits instead was predicted to be faster and was slower.
//!
//! # Order of additions
//!
//! Left alone, LLVM reassociates the integer additions of a tile: it adds the products of one row after the other,
//! keeps all codes of a segment for that, and spills them. [`in_order`] hides each sum from it, which made prompts in
//! Q4_0 1.4 times as fast. The same loop in hand-written assembler takes the same number of cycles.
#![allow(
    unsafe_code,
    reason = "intrinsics: their preconditions are met by the proof value and by array types"
)]

use std::arch::asm;
#[allow(
    clippy::wildcard_imports,
    reason = "a table of intrinsics reads better than a list of fifty names"
)]
use std::arch::x86_64::*;

use super::{Isa, LANES};

/// AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2 {
    _detected: (),
}

/// A logical vector of `f32`: lanes 0 to 7, lanes 8 to 15.
type F32 = [__m256; 2];
/// A logical vector of `i32`, or 64 bytes.
type I32 = [__m256i; 2];

/// Methods compiled for the instruction set, whose intrinsics are therefore safe to call.
macro_rules! compiled {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) $(-> $ret)? {
            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            // SAFETY: a value of this type exists only where `detect` found the features.
            unsafe { body($($arg),*) }
        }
    )*};
}

impl Isa for Avx2 {
    const TILE_ROWS: usize = 4;
    const HAS_SLOW_F16_LOADS: bool = false;
    const PREFERS_I16_SUMS: bool = true;
    const DOT_OFFSET: i32 = 128;
    const HAS_32_REGISTERS: bool = false;
    type F32 = F32;
    type I32 = I32;
    type Bytes = I32;
    type WithoutDots = Self;

    fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self { _detected: () })
    }
    fn without_dots(self) -> Self {
        self
    }
    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` exists only where `detect` found the features.
        unsafe { compiled(f) }
    }
    #[inline(always)]
    fn prefetch_l2<T>(self, address: *const T) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
    #[inline(always)]
    fn prefetch_l1<T>(self, address: *const T) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    compiled! {
        fn load(xs: &[f32; LANES]) -> F32 {
            let halves = xs.as_chunks::<8>().0;
            [load_floats(&halves[0]), load_floats(&halves[1])]
        }
        fn store(xs: &mut [f32; LANES], v: F32) {
            for (half, v) in xs.as_chunks_mut::<8>().0.iter_mut().zip(v) {
                // SAFETY: each chunk has 32 bytes.
                unsafe { _mm256_storeu_ps(half.as_mut_ptr(), v) }
            }
        }
        fn load_f16(xs: &[u16; LANES]) -> F32 {
            let halves = xs.as_chunks::<8>().0;
            let a = load_words(&halves[0]);
            let b = load_words(&halves[1]);
            [_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)]
        }
        fn store_f16(xs: &mut [u16; LANES], v: F32) {
            let v = [
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[0]),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v[1]),
            ];
            for (half, v) in xs.as_chunks_mut::<8>().0.iter_mut().zip(v) {
                // SAFETY: each chunk has 16 bytes.
                unsafe { _mm_storeu_si128(half.as_mut_ptr().cast(), v) }
            }
        }
        fn load_i8(xs: &[i8; LANES]) -> I32 {
            // SAFETY: the array has 16 bytes.
            let bytes = unsafe { _mm_loadu_si128(xs.as_ptr().cast()) };
            [_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))]
        }
        fn load_u8(xs: &[u8; LANES]) -> I32 {
            // SAFETY: the array has 16 bytes.
            let bytes = unsafe { _mm_loadu_si128(xs.as_ptr().cast()) };
            [_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))]
        }
        fn store_i8(xs: &mut [i8; LANES], v: I32) {
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(v[0], v[1]));
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            // SAFETY: the array has 16 bytes.
            unsafe { _mm_storeu_si128(xs.as_mut_ptr().cast(), bytes) }
        }
        fn load_bytes(xs: &[u8; 64]) -> I32 {
            let halves = xs.as_chunks::<32>().0;
            [load_32_bytes(&halves[0]), load_32_bytes(&halves[1])]
        }
        fn store_bytes(xs: &mut [u8; 64], v: I32) {
            for (half, v) in xs.as_chunks_mut::<32>().0.iter_mut().zip(v) {
                // SAFETY: each chunk has 32 bytes.
                unsafe { _mm256_storeu_si256(half.as_mut_ptr().cast(), v) }
            }
        }
        fn splat(x: f32) -> F32 { [_mm256_set1_ps(x); 2] }
        fn add(a: F32, b: F32) -> F32 { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        fn sub(a: F32, b: F32) -> F32 { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
        fn mul(a: F32, b: F32) -> F32 { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        fn div(a: F32, b: F32) -> F32 { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
        fn mul_add(a: F32, b: F32, c: F32) -> F32 {
            [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
        }
        fn neg_mul_add(a: F32, b: F32, c: F32) -> F32 {
            [_mm256_fnmadd_ps(a[0], b[0], c[0]), _mm256_fnmadd_ps(a[1], b[1], c[1])]
        }
        fn max(a: F32, b: F32) -> F32 { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
        fn min(a: F32, b: F32) -> F32 { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
        fn abs(a: F32) -> F32 {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
        }
        fn round(a: F32) -> F32 {
            [
                _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a[0]),
                _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a[1]),
            ]
        }
        fn select_lt(a: F32, b: F32, yes: F32, no: F32) -> F32 {
            [
                _mm256_blendv_ps(no[0], yes[0], _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0])),
                _mm256_blendv_ps(no[1], yes[1], _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])),
            ]
        }
        fn to_i32(a: F32) -> I32 { [_mm256_cvtps_epi32(a[0]), _mm256_cvtps_epi32(a[1])] }
        fn pow2(n: I32) -> F32 {
            let bias = _mm256_set1_epi32(127);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n[0], bias))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n[1], bias))),
            ]
        }
        fn reduce_sum(v: F32) -> f32 {
            let eight = _mm256_add_ps(v[0], v[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
        fn reduce_max(v: F32) -> f32 {
            let eight = _mm256_max_ps(v[0], v[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
        fn splat_i32(x: i32) -> I32 { [_mm256_set1_epi32(x); 2] }
        fn and_i32(a: I32, mask: i32) -> I32 {
            let mask = _mm256_set1_epi32(mask);
            [_mm256_and_si256(a[0], mask), _mm256_and_si256(a[1], mask)]
        }
        fn shl_i32(a: I32, n: u32) -> I32 {
            let count = _mm_cvtsi32_si128(n as i32);
            [_mm256_sll_epi32(a[0], count), _mm256_sll_epi32(a[1], count)]
        }
        fn shr_i32(a: I32, n: u32) -> I32 {
            let count = _mm_cvtsi32_si128(n as i32);
            [_mm256_srl_epi32(a[0], count), _mm256_srl_epi32(a[1], count)]
        }
        fn to_f32(a: I32) -> F32 { [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])] }
        fn reduce_sum_i32(v: I32) -> i32 {
            let eight = _mm256_add_epi32(v[0], v[1]);
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
        }
        fn splat_quad(x: [i8; 4]) -> I32 {
            [_mm256_set1_epi32(i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8])); 2]
        }
        fn even_bf16(v: I32) -> F32 {
            v.map(
                #[inline(always)]
                |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(v)),
            )
        }
        fn odd_bf16(v: I32) -> F32 {
            let upper = _mm256_set1_epi32(!0xffff);
            v.map(
                #[inline(always)]
                |v| _mm256_castsi256_ps(_mm256_and_si256(v, upper)),
            )
        }
        fn shift_bytes(v: I32, left: i32, mask: u8) -> I32 {
            // There is no shift of bytes. One of 16-bit lanes brings in bits of the neighbour, which the mask drops.
            let count = _mm_cvtsi32_si128(left.abs());
            let (shifted, valid) = match left {
                ..0 => ([_mm256_srl_epi16(v[0], count), _mm256_srl_epi16(v[1], count)], 0xff >> -left),
                0 => (v, 0xff),
                1.. => ([_mm256_sll_epi16(v[0], count), _mm256_sll_epi16(v[1], count)], 0xff << left),
            };
            let mask = _mm256_set1_epi8((mask & valid as u8) as i8);
            [_mm256_and_si256(shifted[0], mask), _mm256_and_si256(shifted[1], mask)]
        }
        fn or_bytes(a: I32, b: I32) -> I32 { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
        fn lookup(table: &[u8; 16], v: I32) -> I32 {
            // SAFETY: the array has 16 bytes.
            let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
            let table = _mm256_broadcastsi128_si256(table);
            [_mm256_shuffle_epi8(table, v[0]), _mm256_shuffle_epi8(table, v[1])]
        }
        fn dot(acc: I32, w: I32, x: I32) -> I32 { [dot_8bit_half(acc[0], w[0], x[0]), dot_8bit_half(acc[1], w[1], x[1])] }
        fn dot_7bit(acc: I32, w: I32, x: I32) -> I32 {
            [dot_7bit_half(acc[0], w[0], x[0]), dot_7bit_half(acc[1], w[1], x[1])]
        }
        fn dot_i16(acc: I32, w: I32, x: I32) -> I32 {
            [
                in_order(_mm256_add_epi16(acc[0], _mm256_maddubs_epi16(w[0], x[0]))),
                in_order(_mm256_add_epi16(acc[1], _mm256_maddubs_epi16(w[1], x[1]))),
            ]
        }
        fn add_i16_halves(acc: I32, v: I32) -> I32 {
            let ones = _mm256_set1_epi16(1);
            [
                in_order(_mm256_add_epi32(acc[0], _mm256_madd_epi16(v[0], ones))),
                in_order(_mm256_add_epi32(acc[1], _mm256_madd_epi16(v[1], ones))),
            ]
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_floats(xs: &[f32; 8]) -> __m256 {
    // SAFETY: the array has 32 bytes.
    unsafe { _mm256_loadu_ps(xs.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_words(xs: &[u16; 8]) -> __m128i {
    // SAFETY: the array has 16 bytes.
    unsafe { _mm_loadu_si128(xs.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_32_bytes(xs: &[u8; 32]) -> __m256i {
    // SAFETY: the array has 32 bytes.
    unsafe { _mm256_loadu_si256(xs.as_ptr().cast()) }
}

/// `acc` plus products of `w - 128` and `x`. The sign of `w - 128` goes over to `x`: two products of 128 * 127 fit 16
/// bits, so nothing saturates.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_8bit_half(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
    let centred = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    dot_7bit_half(acc, _mm256_abs_epi8(centred), _mm256_sign_epi8(x, centred))
}

/// `acc` plus products of `w < 128` and `x`. Two products of 127 * 128 fit 16 bits, so nothing saturates.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_7bit_half(acc: __m256i, w: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(w, x);
    in_order(_mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))))
}

/// `v`, hidden from the optimizer: see the head of this file.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(mut v: __m256i) -> __m256i {
    // SAFETY: the assembly has no instructions.
    unsafe { asm!("/* {0} */", inout(ymm_reg) v, options(nostack, preserves_flags)) }
    v
}
