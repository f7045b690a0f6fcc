//! AVX-512 with VNNI: four byte products and their sum in one instruction.
#![allow(unsafe_code, reason = "intrinsics: their preconditions are met by the proof value")]

use std::arch::x86_64::{__m512i, _mm512_dpbusd_epi32};

use super::avx512::{Avx512With, ByteProducts, MultiplyAdd};

/// AVX-512 with VNNI.
pub(super) type Avx512Vnni = Avx512With<Vnni>;

/// Products by `vpdpbusd`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vnni {
    _detected: (),
}

impl ByteProducts for Vnni {
    fn detect() -> Option<Self> {
        let found = MultiplyAdd::detect().is_some() && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self { _detected: () })
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
}
