//! Elementary functions over logical vectors: exp, tanh and the activations made of them.
//!
//! All are polynomials and divisions written over [`Isa`], with fused multiply-adds throughout, so that they give the
//! same bits on every instruction set, which no C library promises. exp is accurate to three units in the last place,
//! the others to a millionth.
//!
//! Sources: Cephes (Moshier) for exp and tanh; Numerical Recipes, section 6.2, for erfc.

#[cfg(test)]
mod tests;

use crate::cpu::isa::Isa;
use crate::plan::{Activation, Xielu};

/// Evaluates a polynomial by Horner's scheme; coefficients of the highest power first.
#[inline(always)]
fn polynomial<I: Isa>(isa: I, x: I::F32, coefficients: &[f32]) -> I::F32 {
    let mut sum = isa.splat(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = isa.mul_add(sum, x, isa.splat(coefficient));
    }
    sum
}

/// `e^x` as `2^n (1 + p)`, `p` near zero.
#[inline(always)]
fn exp_parts<I: Isa>(isa: I, x: I::F32) -> (I::F32, I::F32) {
    // The bound is the first operand, so that NaN passes.
    let x = isa.min(isa.splat(89.0), isa.max(isa.splat(-104.0), x));
    let n = isa.round(isa.mul(x, isa.splat(std::f32::consts::LOG2_E)));
    // Cody-Waite: ln 2 in two parts; the product with the first is exact.
    let r = isa.neg_mul_add(n, isa.splat(0.693_359_4), x);
    let r = isa.neg_mul_add(n, isa.splat(-2.121_944_4e-4), r);
    // Cephes, expf.
    let p = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
    let p = isa.mul_add(polynomial(isa, r, &p), isa.mul(r, r), r);
    (p, n)
}

/// `e^x`; 0 and infinity beyond the range of `f32`, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let (p, n) = exp_parts(isa, x);
    isa.scale_by_pow2(isa.add(p, isa.splat(1.0)), n)
}

/// `e^x - 1` for `x` of at most zero, where the difference would cancel near it.
#[inline(always)]
fn exp_minus_one<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let (p, n) = exp_parts(isa, x);
    let power = isa.scale_by_pow2(isa.splat(1.0), n);
    isa.mul_add(p, power, isa.sub(power, isa.splat(1.0)))
}

/// `tanh x`
#[inline(always)]
pub(crate) fn tanh<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let one = isa.splat(1.0);
    let size = isa.abs(x);
    let square = isa.mul(x, x);
    // Cephes, tanhf: an odd polynomial near zero, where 1 - 2 / (e^2x + 1) would cancel.
    let p = [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let small = isa.mul_add(isa.mul(polynomial(isa, square, &p), square), x, x);
    let e = exp(isa, isa.add(size, size));
    let large = isa.sub(one, isa.div(isa.splat(2.0), isa.add(e, one)));
    let large = isa.select_lt(x, isa.splat(0.0), isa.sub(isa.splat(0.0), large), large);
    isa.select_lt(size, isa.splat(0.625), small, large)
}

/// `x / (1 + e^-y)`
#[inline(always)]
fn times_sigmoid<I: Isa>(isa: I, x: I::F32, y: I::F32) -> I::F32 {
    let zero = isa.splat(0.0);
    // e^-|y| cannot overflow.
    let e = exp(isa, isa.sub(zero, isa.abs(y)));
    let numerator = isa.select_lt(y, zero, isa.mul(x, e), x);
    isa.div(numerator, isa.add(isa.splat(1.0), e))
}

/// `1 / (1 + e^-x)`
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    times_sigmoid(isa, isa.splat(1.0), x)
}

/// `x * sigmoid(x)`
#[inline(always)]
pub(crate) fn silu<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    times_sigmoid(isa, x, x)
}

/// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
#[inline(always)]
pub(crate) fn gelu_tanh<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    // 0.5 (1 + tanh u) = sigmoid(2u), which does not cancel for negative u.
    let square = isa.mul(x, x);
    let u = isa.mul(x, isa.mul_add(isa.splat(0.044_715), square, isa.splat(1.0)));
    times_sigmoid(isa, x, isa.mul(u, isa.splat(1.595_769)))
}

/// `0.5 x (1 + erf(x / sqrt(2)))`
#[inline(always)]
pub(crate) fn gelu_erf<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let one = isa.splat(1.0);
    let half = isa.splat(0.5);
    // erfc(z) = t exp(-z^2 + p(t)), t = 2 / (2 + z). The square keeps its rounding error and has an exponential of its
    // own, so that the tail keeps its digits.
    let z = isa.mul(isa.abs(x), isa.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = isa.div(one, isa.mul_add(half, z, one));
    let p = [
        0.170_872_77,
        -0.822_152_2,
        1.488_515_9,
        -1.135_204,
        0.278_868_08,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    let square = isa.mul(x, x);
    let error = isa.neg_mul_add(x, x, square);
    let tail = exp(isa, isa.mul_add(half, error, polynomial(isa, t, &p)));
    let erfc = isa.mul(isa.mul(t, tail), exp(isa, isa.mul(square, isa.splat(-0.5))));
    let below = isa.mul(half, erfc);
    isa.mul(x, isa.select_lt(x, isa.splat(0.0), below, isa.sub(one, below)))
}

/// xIELU, see [`Xielu`].
#[inline(always)]
fn xielu<I: Isa>(isa: I, parameters: Xielu, x: I::F32) -> I::F32 {
    let Xielu { alpha_p, alpha_n, beta, eps } = parameters;
    let linear = isa.mul(isa.splat(beta), x);
    let positive = isa.mul_add(isa.mul(isa.splat(alpha_p), x), x, linear);
    // The bound is the first operand, so that NaN passes.
    let curve = isa.sub(exp_minus_one(isa, isa.min(isa.splat(eps), x)), x);
    let negative = isa.mul_add(isa.splat(alpha_n), curve, linear);
    isa.select_lt(isa.splat(0.0), x, positive, negative)
}

/// `cap * tanh(x / cap)`
#[inline(always)]
pub(crate) fn soft_cap<I: Isa>(isa: I, cap: f32, x: I::F32) -> I::F32 {
    isa.mul(isa.splat(cap), tanh(isa, isa.div(x, isa.splat(cap))))
}

/// Applies an activation.
#[inline(always)]
pub(crate) fn activate<I: Isa>(isa: I, activation: Activation, x: I::F32) -> I::F32 {
    match activation {
        Activation::Silu => silu(isa, x),
        Activation::GeluTanh => gelu_tanh(isa, x),
        Activation::GeluErf => gelu_erf(isa, x),
        Activation::Xielu(parameters) => xielu(isa, parameters, x),
    }
}
