//! Pointwise non-linearities, which products apply to their results.

use std::fmt::{self, Display, Formatter};

use super::check::{Check, ensure};

/// A pointwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `0.5 x (1 + erf(x / sqrt(2)))`.
    GeluErf,
    /// The trainable xIELU.
    Xielu(Xielu),
}

/// The parameters of xIELU (<https://arxiv.org/abs/2411.13010>), all finite:
///
/// ```text
/// x > 0     alpha_p x^2 + beta x
/// x <= 0    alpha_n (e^min(x, eps) - 1 - x) + beta x
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xielu {
    /// Curvature of the positive side.
    pub alpha_p: f32,
    /// Curvature of the negative side.
    pub alpha_n: f32,
    /// Slope at zero.
    pub beta: f32,
    /// Upper bound of the exponent, just below zero.
    pub eps: f32,
}

impl Activation {
    pub(crate) fn check(self) -> Check {
        match self {
            Self::Silu | Self::GeluTanh | Self::GeluErf => Ok(()),
            Self::Xielu(Xielu { alpha_p, alpha_n, beta, eps }) => {
                let is_finite = [alpha_p, alpha_n, beta, eps].into_iter().all(f32::is_finite);
                ensure(is_finite && eps <= 0.0, || format!("the parameters of {self} are out of range"))
            }
        }
    }
}

impl Display for Activation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silu => f.write_str("silu"),
            Self::GeluTanh => f.write_str("gelu_tanh"),
            Self::GeluErf => f.write_str("gelu_erf"),
            Self::Xielu(Xielu { alpha_p, alpha_n, beta, eps }) => {
                write!(f, "xielu {alpha_p} {alpha_n} {beta} {eps:?}")
            }
        }
    }
}
