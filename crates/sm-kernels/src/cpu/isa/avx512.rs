//! AVX-512: a logical vector is one register, and there are 32.
//!
//! Processors differ in how they multiply bytes, which [`Int8Dot`] abstracts: by way of 16-bit products here, by
//! `vpdpbusd` in `avx512_vnni.rs`. Everything else is shared.
//!
//! ```text
//! dot (u8 × i8)      even and odd bytes widened to 16 bits, vpmaddwd each        cannot saturate
//! dot_7bit           vpmaddubsw, vpmaddwd with ones                              2 · 127 · 128 fits 16 bits
//! ```
#![allow(
    unsafe_code,
    reason = "intrinsics: their preconditions are met by the proof value and by array types"
)]

#[allow(
    clippy::wildcard_imports,
    reason = "a table of intrinsics reads better than a list of fifty names"
)]
use std::arch::x86_64::*;
use std::fmt::Debug;

use super::{Bf16Visitor, FmaBf16, Isa, LANES};

/// How a processor with AVX-512 multiplies bytes, and what else sets it apart.
pub(super) trait Int8Dot: Copy + Send + Sync + Debug + 'static {
    /// The proof value, if the processor has AVX-512 F, BW, DQ and VL, AVX2, FMA, F16C, and what the dots need.
    fn detect() -> Option<Self>;
    /// The proof value without what the dots need.
    fn base(self) -> MaddInt8;
    /// As [`Isa::enter`].
    fn enter<R>(self, f: impl FnOnce() -> R) -> R;
    /// As [`Isa::dot`].
    fn dot(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i;
    /// As [`Isa::dot_7bit`].
    fn dot_7bit(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i;
    /// As [`Isa::with_bf16`].
    fn with_bf16<V: Bf16Visitor<Avx512With<Self>>>(isa: Avx512With<Self>, visitor: V) {
        visitor.visit(FmaBf16(isa));
    }
}

/// AVX-512 with some way to multiply bytes, whose proof value is the proof of all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512With<P> {
    int8: P,
}

/// AVX-512 as in the first processors that had it (Skylake-X).
pub(super) type Avx512 = Avx512With<MaddInt8>;

/// Dots of bytes by way of 16-bit products.
#[derive(Clone, Copy, Debug)]
pub(super) struct MaddInt8 {
    _detected: (),
}

/// Methods compiled for the instruction set, whose intrinsics are therefore safe to call.
macro_rules! compiled {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) $(-> $ret)? {
            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            // SAFETY: a value of this type exists only where `detect` found the features.
            unsafe { body($($arg),*) }
        }
    )*};
}

impl Int8Dot for MaddInt8 {
    fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self { _detected: () })
    }

    fn base(self) -> MaddInt8 {
        self
    }

    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        fn compiled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` exists only where `detect` found the features.
        unsafe { compiled(f) }
    }

    compiled! {
        fn dot(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
            let w_even = _mm512_and_si512(w, _mm512_set1_epi16(0xff));
            let w_odd = _mm512_srli_epi16::<8>(w);
            let x_even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x));
            let x_odd = _mm512_srai_epi16::<8>(x);
            let sum = _mm512_add_epi32(_mm512_madd_epi16(w_even, x_even), _mm512_madd_epi16(w_odd, x_odd));
            _mm512_add_epi32(acc, sum)
        }
        // Two products of 127 * 128 fit 16 bits, so nothing saturates.
        fn dot_7bit(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
            let pairs = _mm512_maddubs_epi16(w, x);
            _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))
        }
    }
}

impl<P: Int8Dot> Isa for Avx512With<P> {
    const TILE_ROWS: usize = 8;
    const HAS_SLOW_F16_LOADS: bool = true;
    const PREFERS_I16_SUMS: bool = false;
    const DOT_OFFSET: i32 = 0;
    const HAS_32_REGISTERS: bool = true;
    type F32 = __m512;
    type I32 = __m512i;
    type Bytes = __m512i;
    type WithoutDots = Avx512;

    fn detect() -> Option<Self> {
        P::detect().map(|int8| Self { int8 })
    }
    fn without_dots(self) -> Avx512 {
        Avx512With { int8: self.int8.base() }
    }
    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        self.int8.enter(f)
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
    #[inline(always)]
    fn dot(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        self.int8.dot(acc, w, x)
    }
    #[inline(always)]
    fn dot_7bit(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        self.int8.dot_7bit(acc, w, x)
    }
    #[inline(always)]
    fn with_bf16<V: Bf16Visitor<Self>>(self, visitor: V) {
        P::with_bf16(self, visitor);
    }

    compiled! {
        fn load(xs: &[f32; LANES]) -> __m512 {
            // SAFETY: the array has 64 bytes.
            unsafe { _mm512_loadu_ps(xs.as_ptr()) }
        }
        fn store(xs: &mut [f32; LANES], v: __m512) {
            // SAFETY: the array has 64 bytes.
            unsafe { _mm512_storeu_ps(xs.as_mut_ptr(), v) }
        }
        fn load_f16(xs: &[u16; LANES]) -> __m512 {
            // SAFETY: the array has 32 bytes.
            let half = unsafe { _mm256_loadu_si256(xs.as_ptr().cast()) };
            _mm512_cvtph_ps(half)
        }
        fn store_f16(xs: &mut [u16; LANES], v: __m512) {
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
            // SAFETY: the array has 32 bytes.
            unsafe { _mm256_storeu_si256(xs.as_mut_ptr().cast(), half) }
        }
        fn load_i8(xs: &[i8; LANES]) -> __m512i {
            // SAFETY: the array has 16 bytes.
            let bytes = unsafe { _mm_loadu_si128(xs.as_ptr().cast()) };
            _mm512_cvtepi8_epi32(bytes)
        }
        fn load_u8(xs: &[u8; LANES]) -> __m512i {
            // SAFETY: the array has 16 bytes.
            let bytes = unsafe { _mm_loadu_si128(xs.as_ptr().cast()) };
            _mm512_cvtepu8_epi32(bytes)
        }
        fn store_i8(xs: &mut [i8; LANES], v: __m512i) {
            let bytes = _mm512_cvtsepi32_epi8(v);
            // SAFETY: the array has 16 bytes.
            unsafe { _mm_storeu_si128(xs.as_mut_ptr().cast(), bytes) }
        }
        fn load_bytes(xs: &[u8; 64]) -> __m512i {
            // SAFETY: the array has 64 bytes.
            unsafe { _mm512_loadu_si512(xs.as_ptr().cast()) }
        }
        fn store_bytes(xs: &mut [u8; 64], v: __m512i) {
            // SAFETY: the array has 64 bytes.
            unsafe { _mm512_storeu_si512(xs.as_mut_ptr().cast(), v) }
        }
        fn splat(x: f32) -> __m512 { _mm512_set1_ps(x) }
        fn add(a: __m512, b: __m512) -> __m512 { _mm512_add_ps(a, b) }
        fn sub(a: __m512, b: __m512) -> __m512 { _mm512_sub_ps(a, b) }
        fn mul(a: __m512, b: __m512) -> __m512 { _mm512_mul_ps(a, b) }
        fn div(a: __m512, b: __m512) -> __m512 { _mm512_div_ps(a, b) }
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fmadd_ps(a, b, c) }
        fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 { _mm512_fnmadd_ps(a, b, c) }
        fn max(a: __m512, b: __m512) -> __m512 { _mm512_max_ps(a, b) }
        fn min(a: __m512, b: __m512) -> __m512 { _mm512_min_ps(a, b) }
        fn abs(a: __m512) -> __m512 { _mm512_abs_ps(a) }
        fn round(a: __m512) -> __m512 { _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(a) }
        fn select_lt(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes)
        }
        fn to_i32(a: __m512) -> __m512i { _mm512_cvtps_epi32(a) }
        fn pow2(n: __m512i) -> __m512 {
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(n, _mm512_set1_epi32(127))))
        }
        fn scale_by_pow2(a: __m512, n: __m512) -> __m512 { _mm512_scalef_ps(a, n) }
        fn reduce_sum(v: __m512) -> f32 {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
        fn reduce_max(v: __m512) -> f32 {
            let eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
        fn splat_i32(x: i32) -> __m512i { _mm512_set1_epi32(x) }
        fn and_i32(a: __m512i, mask: i32) -> __m512i { _mm512_and_si512(a, _mm512_set1_epi32(mask)) }
        fn shl_i32(a: __m512i, n: u32) -> __m512i { _mm512_sll_epi32(a, _mm_cvtsi32_si128(n as i32)) }
        fn shr_i32(a: __m512i, n: u32) -> __m512i { _mm512_srl_epi32(a, _mm_cvtsi32_si128(n as i32)) }
        fn to_f32(a: __m512i) -> __m512 { _mm512_cvtepi32_ps(a) }
        fn reduce_sum_i32(v: __m512i) -> i32 { _mm512_reduce_add_epi32(v) }
        fn splat_quad(x: [i8; 4]) -> __m512i {
            _mm512_set1_epi32(i32::from_le_bytes([x[0] as u8, x[1] as u8, x[2] as u8, x[3] as u8]))
        }
        fn even_bf16(v: __m512i) -> __m512 { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(v)) }
        fn odd_bf16(v: __m512i) -> __m512 {
            _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(!0xffff)))
        }
        fn shift_bytes(v: __m512i, left: i32, mask: u8) -> __m512i {
            // There is no shift of bytes. One of 16-bit lanes brings in bits of the neighbour, which the mask drops.
            let count = _mm_cvtsi32_si128(left.abs());
            let (shifted, valid) = match left {
                ..0 => (_mm512_srl_epi16(v, count), 0xff >> -left),
                0 => (v, 0xff),
                1.. => (_mm512_sll_epi16(v, count), 0xff << left),
            };
            _mm512_and_si512(shifted, _mm512_set1_epi8((mask & valid as u8) as i8))
        }
        fn or_bytes(a: __m512i, b: __m512i) -> __m512i { _mm512_or_si512(a, b) }
        fn lookup(table: &[u8; 16], v: __m512i) -> __m512i {
            // SAFETY: the array has 16 bytes.
            let table = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), v)
        }
        fn dot_i16(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
            _mm512_add_epi16(acc, _mm512_maddubs_epi16(w, x))
        }
        fn add_i16_halves(acc: __m512i, v: __m512i) -> __m512i {
            _mm512_add_epi32(acc, _mm512_madd_epi16(v, _mm512_set1_epi16(1)))
        }
    }
}
