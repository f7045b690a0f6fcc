//! F32, F16 and BF16: blocks of one value, little-endian.
//!
//! BF16 is the upper half of an F32, rounded to nearest, ties to even. F16 converts [`CHUNK`] values at
//! a time, because the conversion instructions (F16C) work on vectors.

use super::{BlockFormat, Format, Quantizers};
use crate::DType;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

pub(super) struct F32;

impl BlockFormat<1, 4> for F32 {
    const DTYPE: DType = DType::F32;
    const MAX_ABS: f32 = f32::MAX;

    fn dequantize(block: &[u8; 4], values: &mut [f32; 1]) {
        *values = [f32::from_le_bytes(*block)];
    }

    fn quantize(values: &[f32; 1], block: &mut [u8; 4]) {
        *block = values[0].to_le_bytes();
    }
}

/// A hand-written table row: it converts chunks instead of blocks of one value.
pub(super) const F16: Format = Format {
    dtype: DType::F16,
    max_abs: 65504.0,
    dequantize: dequantize_f16,
    quantize: Some(Quantizers {
        plain: quantize_f16,
        important: |values, _, bytes| quantize_f16(values, bytes),
    }),
    indexed: None,
};

/// Values converted at a time.
const CHUNK: usize = 64;

fn dequantize_f16(bytes: &[u8], values: &mut [f32]) {
    let mut halves = [f16::ZERO; CHUNK];
    for (bytes, values) in bytes.chunks(2 * CHUNK).zip(values.chunks_mut(CHUNK)) {
        for (half, bytes) in halves.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves[..values.len()].convert_to_f32_slice(values);
    }
}

fn quantize_f16(values: &[f32], bytes: &mut [u8]) {
    let mut halves = [f16::ZERO; CHUNK];
    for (values, bytes) in values.chunks(CHUNK).zip(bytes.chunks_mut(2 * CHUNK)) {
        halves[..values.len()].convert_from_f32_slice(values);
        for (bytes, half) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
            *bytes = half.to_le_bytes();
        }
    }
}

pub(super) struct Bf16;

impl BlockFormat<1, 2> for Bf16 {
    const DTYPE: DType = DType::Bf16;
    const MAX_ABS: f32 = bf16::MAX.to_f32_const();

    fn dequantize(block: &[u8; 2], values: &mut [f32; 1]) {
        *values = [bf16::from_le_bytes(*block).to_f32()];
    }

    fn quantize(values: &[f32; 1], block: &mut [u8; 2]) {
        *block = bf16::from_f32(values[0]).to_le_bytes();
    }
}
