//! The functions against double precision, on every instruction set.

use super::{activate, exp, sigmoid, soft_cap, tanh};
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor, LANES};
use crate::plan::{Activation, Xielu};

const XIELU: Activation = Activation::Xielu(Xielu { alpha_p: 0.8, alpha_n: 1.3, beta: 0.5, eps: -1e-6 });

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Tanh,
    SoftCap,
    Sigmoid,
    Activation(Activation),
}

struct Evaluate<'a> {
    function: Function,
    xs: &'a [f32],
}

impl IsaVisitor for Evaluate<'_> {
    type Output = Vec<f32>;

    fn visit<I: Isa>(self, isa: I) -> Vec<f32> {
        let mut out = vec![0.0; self.xs.len()];
        for (x, out) in self.xs.as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0) {
            let x = isa.load(x);
            let y = match self.function {
                Function::Exp => exp(isa, x),
                Function::Tanh => tanh(isa, x),
                Function::SoftCap => soft_cap(isa, 30.0, x),
                Function::Sigmoid => sigmoid(isa, x),
                Function::Activation(activation) => activate(isa, activation, x),
            };
            isa.store(out, y);
        }
        out
    }
}

/// The normal distribution function: a continued fraction of `erfc(z)` above `z = 2`, the series of `erf` below.
fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let erfc = if z > 2.0 {
        let fraction = (1..60).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (z + f));
        (-z * z).exp() / std::f64::consts::PI.sqrt() / (z + fraction)
    } else {
        let mut term = z;
        let mut sum = z;
        for k in 1..60 {
            term *= -z * z / f64::from(k);
            sum += term / f64::from(2 * k + 1);
        }
        1.0 - 2.0 / std::f64::consts::PI.sqrt() * sum
    };
    if x < 0.0 { 0.5 * erfc } else { 1.0 - 0.5 * erfc }
}

fn reference(function: Function, x: f64) -> f64 {
    match function {
        Function::Exp => x.exp(),
        Function::Tanh => x.tanh(),
        Function::SoftCap => 30.0 * (x / 30.0).tanh(),
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Activation(Activation::Silu) => x / (1.0 + (-x).exp()),
        Function::Activation(Activation::GeluTanh) => {
            x / (1.0 + (-(8.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).exp())
        }
        Function::Activation(Activation::GeluErf) => x * normal_cdf(x),
        Function::Activation(Activation::Xielu(Xielu { alpha_p, alpha_n, beta, eps })) => {
            let [alpha_p, alpha_n, beta, eps] = [alpha_p, alpha_n, beta, eps].map(f64::from);
            if x > 0.0 { (alpha_p * x + beta) * x } else { alpha_n * (x.min(eps).exp_m1() - x) + beta * x }
        }
    }
}

/// From -90 to 90, dense near zero, a whole number of vectors.
fn inputs() -> Vec<f32> {
    (-8000..8000)
        .map(|i| {
            let t = i as f32 / 8000.0;
            90.0 * t * t * t + 1e-3 * t
        })
        .collect()
}

fn check(function: Function, tolerance: f64) {
    let xs = inputs();
    for kind in IsaKind::available() {
        let ys = kind.dispatch(Evaluate { function, xs: &xs });
        for (&x, &y) in xs.iter().zip(&ys) {
            let want = reference(function, f64::from(x));
            let bound = tolerance * want.abs() + f64::from(f32::MIN_POSITIVE);
            let close =
                (f64::from(y) - want).abs() <= bound || want.abs() > f64::from(f32::MAX) && y.is_infinite();
            assert!(close, "{function:?}({x}) on {kind}: {y}, not {want}");
        }
    }
}

#[test]
fn exp_is_accurate_to_three_ulp() {
    check(Function::Exp, 1.5 * f64::from(f32::EPSILON));
}

#[test]
fn tanh_is_accurate_to_a_millionth() {
    check(Function::Tanh, 1e-6);
    check(Function::SoftCap, 1e-6);
}

#[test]
fn activations_are_accurate_to_a_millionth() {
    check(Function::Sigmoid, 1e-6);
    check(Function::Activation(Activation::Silu), 1e-6);
    for activation in [Activation::GeluTanh, Activation::GeluErf] {
        check_gelu(activation);
    }
}

#[test]
fn xielu_is_accurate_to_a_millionth_except_at_its_negative_root() {
    // The curve and the line cancel there, so the error is relative to the line.
    let xs = inputs();
    for kind in IsaKind::available() {
        let ys = kind.dispatch(Evaluate { function: Function::Activation(XIELU), xs: &xs });
        for (&x, &y) in xs.iter().zip(&ys) {
            let want = reference(Function::Activation(XIELU), f64::from(x));
            let bound = 1e-6 * want.abs().max(0.5 * f64::from(x).abs());
            assert!((f64::from(y) - want).abs() <= bound, "xielu({x}) on {kind}: {y}, not {want}");
        }
    }
}

/// In the tail the rounding of the exponent is magnified, so its size counts towards the tolerance.
fn check_gelu(activation: Activation) {
    let xs = inputs();
    for kind in IsaKind::available() {
        let ys = kind.dispatch(Evaluate { function: Function::Activation(activation), xs: &xs });
        for (&x, &y) in xs.iter().zip(&ys) {
            let want = reference(Function::Activation(activation), f64::from(x));
            let exponent = if x < 0.0 { -(want / f64::from(x)).max(1e-300).ln() } else { 0.0 };
            let bound =
                (1e-6 + exponent * 2.0 * f64::from(f32::EPSILON)) * want.abs() + f64::from(f32::MIN_POSITIVE);
            assert!((f64::from(y) - want).abs() <= bound, "{activation:?}({x}) on {kind}: {y}, not {want}");
        }
    }
}

#[test]
fn every_set_gives_the_same_bits_and_propagates_nan() {
    let mut xs = inputs();
    xs.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 88.8, -103.9, 0.0]);
    xs.extend([-0.0; 8]);
    let activations = [Activation::Silu, Activation::GeluTanh, Activation::GeluErf, XIELU];
    let functions = [Function::Exp, Function::Tanh, Function::Sigmoid];
    for function in functions.into_iter().chain(activations.map(Function::Activation)) {
        let want = IsaKind::Scalar.dispatch(Evaluate { function, xs: &xs });
        assert!(want[16_000].is_nan(), "{function:?}");
        for kind in IsaKind::available() {
            let got = kind.dispatch(Evaluate { function, xs: &xs });
            let same =
                want.iter().zip(&got).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
            assert!(same, "{function:?} on {kind}");
        }
    }
}
