//! AVX-512 with VNNI: `vpdpbusd` multiplies four unsigned bytes of each lane with four signed ones and adds the
//! products to a 32-bit sum, exactly, in one instruction (Intel SDM, volume 2).
//!
//! Weights are packed as unsigned codes and activations are signed, so no sign has to be moved. Zen 4 starts one
//! 512-bit `vpdpbusd` per cycle, Sapphire Rapids two.
//!
//! `vdpbf16ps`, where the processor has it too, is used on AMD only; see `bf16.rs`.
#![allow(unsafe_code, reason = "intrinsics: their preconditions are met by the proof value")]

use std::arch::x86_64::{
    __cpuid, __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_set1_epi32,
};
use std::mem::transmute;
use std::sync::LazyLock;

use super::avx512::{Avx512With, Int8Dot, MaddInt8};
use super::{Bf16Products, Bf16Visitor, FmaBf16};

/// AVX-512 with VNNI.
pub(super) type Avx512Vnni = Avx512With<Vnni>;

/// Dots of bytes by `vpdpbusd`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vnni {
    base: MaddInt8,
}

impl Int8Dot for Vnni {
    fn detect() -> Option<Self> {
        let base = MaddInt8::detect()?;
        is_x86_feature_detected!("avx512vnni").then_some(Self { base })
    }

    fn base(self) -> MaddInt8 {
        self.base
    }

    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn compiled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` exists only where `detect` found the features.
        unsafe { compiled(f) }
    }

    #[inline(always)]
    fn dot(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        #[inline]
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn body(acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
            _mm512_dpbusd_epi32(acc, w, x)
        }
        // SAFETY: `self` exists only where `detect` found the features.
        unsafe { body(acc, w, x) }
    }

    #[inline(always)]
    fn dot_7bit(self, acc: __m512i, w: __m512i, x: __m512i) -> __m512i {
        self.dot(acc, w, x)
    }

    fn with_bf16<V: Bf16Visitor<Avx512Vnni>>(isa: Avx512Vnni, visitor: V) {
        match DotBf16::detect() {
            Some(products) => visitor.visit(products),
            None => visitor.visit(FmaBf16(isa)),
        }
    }
}

/// Products of bfloat16 by `vdpbf16ps`.
#[derive(Clone, Copy, Debug)]
struct DotBf16 {
    _detected: (),
}

impl DotBf16 {
    fn detect() -> Option<Self> {
        static IS_FAST: LazyLock<bool> = LazyLock::new(|| {
            let vendor = __cpuid(0);
            let is_amd =
                [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD";
            is_amd && Vnni::detect().is_some() && is_x86_feature_detected!("avx512bf16")
        });
        IS_FAST.then_some(Self { _detected: () })
    }
}

impl Bf16Products<Avx512Vnni> for DotBf16 {
    type Pair = u32;
    const STAGES: usize = 1;
    type Weights = __m512i;

    #[inline(always)]
    fn pair([even, odd]: [u16; 2]) -> u32 {
        u32::from(even) | u32::from(odd) << 16
    }

    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
        fn compiled<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        // SAFETY: `self` exists only where `detect` found the features.
        unsafe { compiled(f) }
    }

    #[inline(always)]
    fn weights(self, pairs: __m512i, _stage: usize) -> __m512i {
        pairs
    }

    #[inline(always)]
    fn add(self, acc: __m512, w: __m512i, x: u32, _stage: usize) -> __m512 {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bf16")]
        fn body(acc: __m512, w: __m512i, x: u32) -> __m512 {
            // SAFETY: both types are 64 bytes, and any bits are some bfloat16.
            let pairs = |v: __m512i| unsafe { transmute::<__m512i, __m512bh>(v) };
            _mm512_dpbf16_ps(acc, pairs(w), pairs(_mm512_set1_epi32(x as i32)))
        }
        // SAFETY: `self` exists only where `detect` found the features.
        unsafe { body(acc, w, x) }
    }
}
