//! Plain Rust: the reference for the other instruction sets, and the fallback where none is available.
//!
//! Conversions imitate the instructions at the edges: out of range they give `i32::MIN`, where `as` would saturate, and
//! minimum and maximum return the second operand if one is NaN, as `minps` and `maxps` do.

use std::array;

use half::f16;

use super::{Isa, LANES};

/// No optional instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar {
    _detected: (),
}

#[inline(always)]
fn lanes<T>(f: impl FnMut(usize) -> T) -> [T; LANES] {
    array::from_fn(f)
}

/// Operations that are functions on x86-64, where this is the reference in tests and the fallback for processors without AVX2. Without
/// instructions for multiply-adds and half precision, 16 lanes inline were two fifths of this crate's code.
macro_rules! operations {
    ($(fn $name:ident($($arguments:tt)*) $(-> $result:ty)? $body:block)*) => {
        $(
            #[cfg_attr(target_arch = "x86_64", inline(never))]
            #[cfg_attr(not(target_arch = "x86_64"), inline(always))]
            fn $name($($arguments)*) $(-> $result)? $body
        )*
    };
}

/// 16-bit numbers, little-endian.
#[inline(always)]
fn words(f: impl Fn(usize) -> i16) -> [u8; 64] {
    array::from_fn(|i| f(i / 2).to_le_bytes()[i % 2])
}

#[inline(always)]
fn word(v: &[u8; 64], i: usize) -> i16 {
    i16::from_le_bytes([v[2 * i], v[2 * i + 1]])
}

#[inline(always)]
fn fold<T: Copy>(v: [T; LANES], f: impl Fn(T, T) -> T) -> T {
    let eight: [T; 8] = array::from_fn(|i| f(v[i], v[i + 8]));
    let four: [T; 4] = array::from_fn(|i| f(eight[i], eight[i + 4]));
    f(f(four[0], four[2]), f(four[1], four[3]))
}

#[inline(always)]
fn round_to_i32(x: f32) -> i32 {
    let x = x.round_ties_even();
    // As `cvtps2dq` does out of range.
    if (-2_147_483_648.0..2_147_483_648.0).contains(&x) { x as i32 } else { i32::MIN }
}

impl Isa for Scalar {
    const TILE_ROWS: usize = 1;
    const HAS_SLOW_F16_LOADS: bool = true;
    const PREFERS_I16_SUMS: bool = false;
    const DOT_OFFSET: i32 = 0;
    const HAS_32_REGISTERS: bool = false;
    type F32 = [f32; LANES];
    type I32 = [i32; LANES];
    type Bytes = [u8; 64];
    type WithoutDots = Self;

    fn detect() -> Option<Self> {
        Some(Self { _detected: () })
    }
    fn without_dots(self) -> Self {
        self
    }
    #[inline(always)]
    fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn prefetch_l2<T>(self, _address: *const T) {}
    #[inline(always)]
    fn prefetch_l1<T>(self, _address: *const T) {}

    #[inline(always)]
    fn load(self, xs: &[f32; LANES]) -> Self::F32 {
        *xs
    }
    #[inline(always)]
    fn store(self, xs: &mut [f32; LANES], v: Self::F32) {
        *xs = v;
    }
    operations! {
        fn load_f16(self, xs: &[u16; LANES]) -> Self::F32 {
            lanes(|i| f16::from_bits(xs[i]).to_f32())
        }
        fn store_f16(self, xs: &mut [u16; LANES], v: Self::F32) {
            *xs = lanes(|i| f16::from_f32(v[i]).to_bits());
        }
        fn load_i8(self, xs: &[i8; LANES]) -> Self::I32 {
            xs.map(i32::from)
        }
        fn load_u8(self, xs: &[u8; LANES]) -> Self::I32 {
            xs.map(i32::from)
        }
        fn store_i8(self, xs: &mut [i8; LANES], v: Self::I32) {
            *xs = v.map(|x| x.clamp(-128, 127) as i8);
        }
        fn splat(self, x: f32) -> Self::F32 {
            [x; LANES]
        }

        fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
            lanes(|i| a[i] + b[i])
        }
        fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
            lanes(|i| a[i] - b[i])
        }
        fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
            lanes(|i| a[i] * b[i])
        }
        fn div(self, a: Self::F32, b: Self::F32) -> Self::F32 {
            lanes(|i| a[i] / b[i])
        }
        fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
            lanes(|i| a[i].mul_add(b[i], c[i]))
        }
        fn neg_mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
            lanes(|i| (-a[i]).mul_add(b[i], c[i]))
        }
        fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
            lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
        }
        fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
            lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
        }
        fn abs(self, a: Self::F32) -> Self::F32 {
            a.map(f32::abs)
        }
        fn round(self, a: Self::F32) -> Self::F32 {
            a.map(f32::round_ties_even)
        }
        fn select_lt(self, a: Self::F32, b: Self::F32, yes: Self::F32, no: Self::F32) -> Self::F32 {
            lanes(|i| if a[i] < b[i] { yes[i] } else { no[i] })
        }
        fn to_i32(self, a: Self::F32) -> Self::I32 {
            a.map(round_to_i32)
        }
        fn pow2(self, n: Self::I32) -> Self::F32 {
            n.map(|n| f32::from_bits((n.wrapping_add(127) as u32) << 23))
        }
        fn reduce_sum(self, v: Self::F32) -> f32 {
            fold(v, |a, b| a + b)
        }
        fn reduce_max(self, v: Self::F32) -> f32 {
            fold(v, |a, b| if a > b { a } else { b })
        }

        fn splat_i32(self, x: i32) -> Self::I32 {
            [x; LANES]
        }
        fn and_i32(self, a: Self::I32, mask: i32) -> Self::I32 {
            a.map(|a| a & mask)
        }
        fn shl_i32(self, a: Self::I32, n: u32) -> Self::I32 {
            a.map(|a| a << n)
        }
        fn shr_i32(self, a: Self::I32, n: u32) -> Self::I32 {
            a.map(|a| (a as u32 >> n) as i32)
        }
        fn to_f32(self, a: Self::I32) -> Self::F32 {
            a.map(|a| a as f32)
        }
        fn reduce_sum_i32(self, v: Self::I32) -> i32 {
            fold(v, i32::wrapping_add)
        }

        fn load_bytes(self, xs: &[u8; 64]) -> Self::Bytes {
            *xs
        }
        fn store_bytes(self, xs: &mut [u8; 64], v: Self::Bytes) {
            *xs = v;
        }
        fn even_bf16(self, v: Self::Bytes) -> Self::F32 {
            lanes(|i| f32::from_le_bytes([0, 0, v[4 * i], v[4 * i + 1]]))
        }
        fn odd_bf16(self, v: Self::Bytes) -> Self::F32 {
            lanes(|i| f32::from_le_bytes([0, 0, v[4 * i + 2], v[4 * i + 3]]))
        }
        fn splat_quad(self, x: [i8; 4]) -> Self::Bytes {
            array::from_fn(|i| x[i % 4] as u8)
        }
        fn shift_bytes(self, v: Self::Bytes, left: i32, mask: u8) -> Self::Bytes {
            if left < 0 { v.map(|b| (b >> -left) & mask) } else { v.map(|b| (b << left) & mask) }
        }
        fn or_bytes(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
            array::from_fn(|i| a[i] | b[i])
        }
        fn lookup(self, table: &[u8; 16], v: Self::Bytes) -> Self::Bytes {
            v.map(|b| table[usize::from(b & 15)])
        }
        fn dot(self, acc: Self::I32, w: Self::Bytes, x: Self::Bytes) -> Self::I32 {
            let product = |i: usize| i32::from(w[i]) * i32::from(x[i] as i8);
            lanes(|i| acc[i] + product(4 * i) + product(4 * i + 1) + product(4 * i + 2) + product(4 * i + 3))
        }
        fn dot_7bit(self, acc: Self::I32, w: Self::Bytes, x: Self::Bytes) -> Self::I32 {
            self.dot(acc, w, x)
        }
        fn dot_i16(self, acc: Self::Bytes, w: Self::Bytes, x: Self::Bytes) -> Self::Bytes {
            let product = |i: usize| i16::from(w[i]) * i16::from(x[i] as i8);
            words(|i| word(&acc, i).wrapping_add(product(2 * i)).wrapping_add(product(2 * i + 1)))
        }
        fn add_i16_halves(self, acc: Self::I32, v: Self::Bytes) -> Self::I32 {
            lanes(|i| acc[i] + i32::from(word(&v, 2 * i)) + i32::from(word(&v, 2 * i + 1)))
        }
    }
}
