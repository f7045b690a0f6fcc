//! Weights of the square error under an importance matrix.
//!
//! An importance matrix holds, for each input of a matrix product, the mean square of the activations that a model saw on
//! some text. The error that quantizing a weight `x` causes in the product is then proportional to the importance of its
//! column, so the quantizers minimise
//!
//! ```text
//! sum w (x - x')²,    w = importance * sqrt(2 * mean(x²) + x²)
//! ```
//!
//! where the root favours large weights, which matter to any text, and not only to that behind the matrix. Q6_K, whose
//! errors are small, takes the importance alone.
//!
//! Source: the `quant_weights` of ggml's `ggml-quants.c`.

/// The least importance of a value, as a part of the block's mean: activations that the text never used may be used by others.
const FLOOR: f32 = 1e-4;

/// The weights of a block's errors, or `None` if nothing in it is important.
pub(super) fn error_weights<const N: usize>(importance: &[f32; N], values: &[f32; N]) -> Option<[f32; N]> {
    let mut weights = relative(importance)?;
    let squares = values.map(|x| x * x);
    let spread = 2.0 * squares.iter().sum::<f32>() / N as f32;
    for (weight, square) in weights.iter_mut().zip(squares) {
        *weight *= (spread + square).sqrt();
    }
    Some(weights)
}

/// The importance of a block's values relative to their mean, which keeps the sums of squares in range; `None` if the mean is 0.
pub(super) fn relative<const N: usize>(importance: &[f32; N]) -> Option<[f32; N]> {
    let mean = importance.iter().sum::<f32>() / N as f32;
    (mean > 0.0 && mean.is_finite()).then(|| importance.map(|value| value / mean + FLOOR))
}
