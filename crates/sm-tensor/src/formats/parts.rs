//! Blocks from codes and scales that are known already, such as those of a checkpoint in another format: nothing is searched
//! for and nothing is rounded.

use super::{q5_0, write_f16, write_nibbles};
use crate::DType;

/// What a block of 32 values is made of.
///
/// ```text
/// q4_0   scale * (code - 8)        q5_0   scale * (code - 16)      q8_0   scale * code, signed
/// q4_1   scale * code + min        q5_1   scale * code + min
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockParts {
    /// Exact in f16.
    pub scale: f32,
    /// Exact in f16. Only Q4_1 and Q5_1 have one.
    pub min: f32,
    /// At most 15 in Q4_0 and Q4_1, at most 31 in Q5_0 and Q5_1, a signed byte in Q8_0.
    pub codes: [u8; 32],
}

/// Writes a block of Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0; [`dequantize`](crate::dequantize) reads the parts back.
///
/// # Panics
/// If `dtype` is another one, or `block` does not have its size.
pub fn write_block(dtype: DType, parts: &BlockParts, block: &mut [u8]) {
    assert!(block.len() == dtype.block_bytes(), "{} bytes for a block of {dtype}", block.len());
    let BlockParts { scale, min, codes } = parts;
    write_f16(block, 0, *scale);
    if matches!(dtype, DType::Q4_1 | DType::Q5_1) {
        write_f16(block, 2, *min);
    }
    match dtype {
        DType::Q4_0 => write_nibbles(&mut block[2..], codes),
        DType::Q4_1 => write_nibbles(&mut block[4..], codes),
        DType::Q5_0 => q5_0::write_codes(block, 2, *codes),
        DType::Q5_1 => q5_0::write_codes(block, 4, *codes),
        DType::Q8_0 => block[2..].copy_from_slice(codes),
        other => panic!("blocks of {other} are not written from parts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dequantize;

    /// Scale, minimum and codes, and what the format makes of a code.
    fn check(dtype: DType, n_codes: u32, value: impl Fn(f32, f32, u8) -> f32) {
        for (scale, min) in
            [(0.125, -3.0), (-2.5, 0.5), (0.0, 65504.0), (2.0f32.powi(-24), -(2.0f32.powi(-24)))]
        {
            let codes = std::array::from_fn(|i| ((i as u32 * 37 + 11) % n_codes) as u8);
            let mut block = vec![0xA5; dtype.block_bytes()];
            write_block(dtype, &BlockParts { scale, min, codes }, &mut block);
            let mut values = [0.0; 32];
            dequantize(dtype, &block, &mut values).unwrap();
            let expected = codes.map(|code| value(scale, min, code));
            assert_eq!(values.map(f32::to_bits), expected.map(f32::to_bits), "{dtype} {scale} {min}");
        }
    }

    #[test]
    fn blocks_hold_the_codes_and_scales_they_are_given() {
        check(DType::Q4_0, 16, |scale, _, code| scale * (f32::from(code) - 8.0));
        check(DType::Q4_1, 16, |scale, min, code| scale * f32::from(code) + min);
        check(DType::Q5_0, 32, |scale, _, code| scale * (f32::from(code) - 16.0));
        check(DType::Q5_1, 32, |scale, min, code| scale * f32::from(code) + min);
        check(DType::Q8_0, 256, |scale, _, code| scale * f32::from(code.cast_signed()));
    }
}
