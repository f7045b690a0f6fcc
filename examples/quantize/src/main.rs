//! The cost of each weight format: bits per weight and relative error.
#![expect(clippy::print_stdout, reason = "an example shows what it got")]

use sm_tensor::{DType, QuantizeError, dequantize, quantize};

/// A multiple of every block length.
const N_WEIGHTS: usize = 4096;

fn main() -> Result<(), QuantizeError> {
    let weights = bell_curve();
    println!("{:8} {:>11} {:>15}", "format", "bits/weight", "relative error");
    for dtype in DType::all().filter(|dtype| dtype.is_writable()) {
        let n_blocks = N_WEIGHTS / dtype.block_len();
        let mut bytes = vec![0; n_blocks * dtype.block_bytes()];
        quantize(dtype, &weights, &mut bytes)?;

        let mut restored = vec![0.0; N_WEIGHTS];
        dequantize(dtype, &bytes, &mut restored)?;

        let bits = 8.0 * bytes.len() as f32 / N_WEIGHTS as f32;
        println!("{:8} {bits:>11} {:>14.2}%", dtype.name(), 100.0 * relative_error(&weights, &restored));
    }
    Ok(())
}

/// Values distributed roughly like trained weights: sums of twelve uniform ones.
fn bell_curve() -> Vec<f32> {
    let mut state = 1_u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..N_WEIGHTS).map(|_| 0.02 * (0..12).map(|_| uniform()).sum::<f32>()).collect()
}

/// The norm of the difference over the norm of `x`.
fn relative_error(x: &[f32], y: &[f32]) -> f32 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    norm(&mut x.iter().zip(y).map(|(x, y)| x - y)) / norm(&mut x.iter().copied())
}
