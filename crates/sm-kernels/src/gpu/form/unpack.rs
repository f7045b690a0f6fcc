//! Blocks of files taken apart: codes, scales and minima.

use half::f16;
use sm_tensor::{DType, IndexedBlock, unpack_k_scales};

/// A block of up to 256 values, taken apart. What a type does not have keeps its last value.
#[derive(Debug)]
pub(super) struct Block {
    /// In the order of the values, unsigned.
    pub(super) codes: [u8; 256],
    /// The scale, or the factor of the scales.
    pub(super) d: f16,
    /// `d` in single precision, times what else belongs to it.
    pub(super) factor: f32,
    /// What is subtracted, or the factor of the minima.
    pub(super) d_min: f16,
    /// Scales of 16 or 32 values, in units of `factor`.
    pub(super) scales: [i8; 16],
    /// Minima of 16 or 32 values, in units of `d_min`.
    pub(super) mins: [u8; 16],
}

impl Default for Block {
    fn default() -> Self {
        Self { codes: [0; 256], d: f16::ZERO, factor: 0.0, d_min: f16::ZERO, scales: [0; 16], mins: [0; 16] }
    }
}

impl Block {
    fn set_scale(&mut self, d: f16) {
        self.d = d;
        self.factor = d.to_f32();
    }

    /// Scales and minima of Q4_K and Q5_K.
    fn set_k_scales(&mut self, bytes: &[u8]) {
        self.set_scale(half_at(bytes, 0));
        self.d_min = half_at(bytes, 2);
        let (scales, mins) = unpack_k_scales(&bytes[4..16]);
        self.scales[..8].copy_from_slice(&scales.map(u8::cast_signed));
        self.mins[..8].copy_from_slice(&mins);
    }
}

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Takes a block of a quantized type apart. The layouts are those of the files in `sm-tensor/src/formats/`.
pub(super) fn unpack(dtype: DType, bytes: &[u8], block: &mut Block) {
    match dtype {
        DType::F32 | DType::F16 | DType::Bf16 => panic!("{dtype} has no codes"),
        DType::Q8_0 => {
            block.set_scale(half_at(bytes, 0));
            block.codes.iter_mut().zip(&bytes[2..]).for_each(|(code, byte)| *code = byte ^ 0x80);
        }
        DType::Q4_0 | DType::Iq4Nl => {
            block.set_scale(half_at(bytes, 0));
            nibbles(&bytes[2..], block);
        }
        DType::Q4_1 => {
            block.set_scale(half_at(bytes, 0));
            block.d_min = -half_at(bytes, 2);
            nibbles(&bytes[4..], block);
        }
        DType::Q5_0 => {
            block.set_scale(half_at(bytes, 0));
            nibbles(&bytes[6..], block);
            fifth_bits(&bytes[2..6], block);
        }
        DType::Q5_1 => {
            block.set_scale(half_at(bytes, 0));
            block.d_min = -half_at(bytes, 2);
            nibbles(&bytes[8..], block);
            fifth_bits(&bytes[4..8], block);
        }
        DType::Q2K => q2_k(bytes, block),
        DType::Q3K => q3_k(bytes, block),
        DType::Q4K => {
            block.set_k_scales(bytes);
            pairs_of_32(&bytes[16..], block);
        }
        DType::Q5K => {
            block.set_k_scales(bytes);
            pairs_of_32(&bytes[48..], block);
            for (i, code) in block.codes.iter_mut().enumerate() {
                *code |= (bytes[16 + i % 32] >> (i / 32) & 1) << 4;
            }
        }
        DType::Q6K => q6_k(bytes, block),
        DType::Mxfp4 => mxfp4(bytes, block),
        DType::Q1_0 => q1_0(bytes, block),
        DType::Tq2_0
        | DType::Tq1_0
        | DType::Iq4Xs
        | DType::Iq3S
        | DType::Iq3Xxs
        | DType::Iq2S
        | DType::Iq2Xs
        | DType::Iq2Xxs
        | DType::Iq1M
        | DType::Iq1S => indexed(dtype, bytes, block),
    }
}

/// In byte `j` code `j` below code `j + 16`.
fn nibbles(bytes: &[u8], block: &mut Block) {
    for (j, byte) in bytes.iter().take(16).enumerate() {
        block.codes[j] = byte & 15;
        block.codes[j + 16] = byte >> 4;
    }
}

fn fifth_bits(bytes: &[u8], block: &mut Block) {
    for (i, code) in block.codes.iter_mut().take(32).enumerate() {
        *code |= (bytes[i / 8] >> (i % 8) & 1) << 4;
    }
}

/// Of each 64 values byte `j` holds code `j` below code `j + 32`.
fn pairs_of_32(bytes: &[u8], block: &mut Block) {
    for (codes, bytes) in block.codes.as_chunks_mut::<64>().0.iter_mut().zip(bytes.as_chunks::<32>().0) {
        for (j, byte) in bytes.iter().enumerate() {
            codes[j] = byte & 15;
            codes[j + 32] = byte >> 4;
        }
    }
}

/// Two bits of value `i`: of each 128 values in byte `i % 32`, from bit `2 (i / 32)` on.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(bytes: &[u8], block: &mut Block) {
    block.set_scale(half_at(bytes, 80));
    block.d_min = half_at(bytes, 82);
    for (group, byte) in bytes[..16].iter().enumerate() {
        block.scales[group] = (byte & 15).cast_signed();
        block.mins[group] = byte >> 4;
    }
    block.codes.iter_mut().enumerate().for_each(|(i, code)| *code = two_bits(&bytes[16..], i));
}

fn q3_k(bytes: &[u8], block: &mut Block) {
    block.set_scale(half_at(bytes, 108));
    let packed = &bytes[96..108];
    for (group, scale) in block.scales.iter_mut().enumerate() {
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        *scale = (low | high << 4).cast_signed() - 32;
    }
    for (i, code) in block.codes.iter_mut().enumerate() {
        *code = two_bits(&bytes[32..], i) | (bytes[i % 32] >> (i / 32) & 1) << 2;
    }
}

fn q6_k(bytes: &[u8], block: &mut Block) {
    block.set_scale(half_at(bytes, 208));
    block.scales.iter_mut().zip(&bytes[192..208]).for_each(|(scale, byte)| *scale = byte.cast_signed());
    for (i, code) in block.codes.iter_mut().enumerate() {
        let low = bytes[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        *code = low | two_bits(&bytes[128..], i) << 4;
    }
}

fn indexed(dtype: DType, bytes: &[u8], block: &mut Block) {
    let format = dtype.indexed().expect("a type of indexed values");
    let mut unpacked = IndexedBlock::default();
    format.unpack(bytes, &mut unpacked);
    block.d = unpacked.d;
    block.factor = unpacked.d.to_f32() * format.unit;
    block.codes = unpacked.indices;
    block.scales = unpacked.scales;
}

fn mxfp4(bytes: &[u8], block: &mut Block) {
    // 2^(e - 128); the two smallest are subnormal.
    let bits = match bytes[0] {
        exponent @ (0 | 1) => 0x0020_0000 << exponent,
        exponent => (u32::from(exponent) - 1) << 23,
    };
    block.factor = f32::from_bits(bits);
    nibbles(&bytes[1..], block);
}

fn q1_0(bytes: &[u8], block: &mut Block) {
    block.set_scale(half_at(bytes, 0));
    for (i, code) in block.codes.iter_mut().take(128).enumerate() {
        *code = bytes[2 + i / 8] >> (i % 8) & 1;
    }
}
