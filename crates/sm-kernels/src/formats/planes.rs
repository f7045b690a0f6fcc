//! Vectors of 64 bytes that hold a few bits of the codes of several quads.
//!
//! In a vector byte `4 lane + i` belongs to row `lane`, column `4 quad + i`.

use super::UNIT_LEN;
use crate::isa::Isa;

/// Puts four bytes into each vector, at the place of a row.
#[inline(always)]
fn put<const N: usize>(bytes: &[u8], lane: usize, planes: &mut [[u8; 64]; N]) {
    for (plane, bytes) in planes.iter_mut().zip(bytes.as_chunks::<4>().0) {
        plane.as_chunks_mut::<4>().0[lane] = *bytes;
    }
}

/// Whole bytes: one quad a vector.
#[inline(always)]
pub(super) fn put_bytes(codes: &[u8; UNIT_LEN], lane: usize, planes: &mut [[u8; 64]; 8]) {
    put(codes, lane, planes);
}

/// The 4 low bits: two quads a vector, `quad + 4` above `quad`.
#[inline(always)]
pub(super) fn put_nibbles(codes: &[u8; UNIT_LEN], lane: usize, planes: &mut [[u8; 64]; 4]) {
    let bytes: [u8; 16] = std::array::from_fn(|j| codes[j] & 15 | codes[j + 16] << 4);
    put(&bytes, lane, planes);
}

/// The 2 low bits: four quads a vector.
#[inline(always)]
pub(super) fn put_pairs(codes: &[u8; UNIT_LEN], lane: usize, planes: &mut [[u8; 64]; 2]) {
    for (plane, codes) in planes.iter_mut().zip(codes.as_chunks::<16>().0) {
        let pair = |quad: usize, i: usize| (codes[4 * quad + i] & 3) << (2 * quad);
        let bytes: [u8; 4] = std::array::from_fn(|i| pair(0, i) | pair(1, i) | pair(2, i) | pair(3, i));
        plane.as_chunks_mut::<4>().0[lane] = bytes;
    }
}

/// The lowest bit: eight quads a vector.
#[inline(always)]
pub(super) fn put_bits(codes: &[u8; UNIT_LEN], lane: usize, plane: &mut [u8; 64]) {
    let mut bytes = [0; 4];
    for (quad, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
        bytes.iter_mut().zip(codes).for_each(|(byte, code)| *byte |= (code & 1) << quad);
    }
    plane.as_chunks_mut::<4>().0[lane] = bytes;
}

/// What [`put_nibbles`] wrote for a quad.
#[inline(always)]
pub(super) fn nibbles<I: Isa>(isa: I, planes: &[[u8; 64]; 4], quad: usize) -> I::Bytes {
    let right = if quad < 4 { 0 } else { 4 };
    isa.shift_bytes(isa.load_bytes(&planes[quad % 4]), -right, 15)
}

/// What [`put_pairs`] wrote for a quad, shifted left by `position`.
#[inline(always)]
pub(super) fn pairs<I: Isa>(isa: I, planes: &[[u8; 64]; 2], quad: usize, position: i32) -> I::Bytes {
    let left = position - (quad % 4 * 2) as i32;
    isa.shift_bytes(isa.load_bytes(&planes[quad / 4]), left, 3 << position)
}

/// What [`put_bits`] wrote for a quad, shifted left by `position`.
#[inline(always)]
pub(super) fn bits<I: Isa>(isa: I, plane: &[u8; 64], quad: usize, position: i32) -> I::Bytes {
    isa.shift_bytes(isa.load_bytes(plane), position - quad as i32, 1 << position)
}

/// The codes of 32 nibbles in a block of the file: column `j` below column `j + 16`.
#[inline(always)]
pub(super) fn file_nibbles(bytes: &[u8]) -> [u8; UNIT_LEN] {
    let mut codes = [0; UNIT_LEN];
    let (low, high) = codes.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(&bytes[..16]) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
    codes
}

/// The same with a fifth bit: bit `j` of the little-endian word at `fifth` for column `j`.
#[inline(always)]
pub(super) fn file_fives(fifth: &[u8], bytes: &[u8]) -> [u8; UNIT_LEN] {
    let mut codes = file_nibbles(bytes);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= (fifth[j / 8] >> (j % 8) & 1) << 4;
    }
    codes
}
