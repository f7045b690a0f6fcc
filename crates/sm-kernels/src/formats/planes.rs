//! Vectors of 64 bytes that hold a few bits of the codes of several quads.
//!
//! In a vector byte `4 lane + i` belongs to row `lane`, column `4 quad + i`.

use super::UNIT_LEN;
use crate::isa::Isa;

/// The columns of a quad, at their place in a vector.
#[inline(always)]
fn quad_of<'a>(codes: &'a [u8; UNIT_LEN], plane: &'a mut [u8; 64], lane: usize, quad: usize) -> Quad<'a> {
    (&codes.as_chunks::<4>().0[quad], &mut plane.as_chunks_mut::<4>().0[lane])
}

type Quad<'a> = (&'a [u8; 4], &'a mut [u8; 4]);

/// Whole bytes: one quad a vector.
#[inline(always)]
pub(super) fn put_bytes(codes: &[u8; UNIT_LEN], lane: usize, planes: &mut [[u8; 64]; 8]) {
    for (quad, plane) in planes.iter_mut().enumerate() {
        let (codes, bytes) = quad_of(codes, plane, lane, quad);
        *bytes = *codes;
    }
}

/// The 4 low bits: two quads a vector, `quad + 4` above `quad`.
#[inline(always)]
pub(super) fn put_nibbles(codes: &[u8; UNIT_LEN], lane: usize, planes: &mut [[u8; 64]; 4]) {
    for (low, plane) in planes.iter_mut().enumerate() {
        for quad in [low, low + 4] {
            let (codes, bytes) = quad_of(codes, plane, lane, quad);
            for (code, byte) in codes.iter().zip(bytes) {
                *byte |= (code & 15) << (quad - low);
            }
        }
    }
}

/// The 2 low bits: four quads a vector.
#[inline(always)]
pub(super) fn put_pairs(codes: &[u8; UNIT_LEN], lane: usize, planes: &mut [[u8; 64]; 2]) {
    for quad in 0..8 {
        let (codes, bytes) = quad_of(codes, &mut planes[quad / 4], lane, quad);
        for (code, byte) in codes.iter().zip(bytes) {
            *byte |= (code & 3) << (quad % 4 * 2);
        }
    }
}

/// The lowest bit: eight quads a vector.
#[inline(always)]
pub(super) fn put_bits(codes: &[u8; UNIT_LEN], lane: usize, plane: &mut [u8; 64]) {
    for quad in 0..8 {
        let (codes, bytes) = quad_of(codes, plane, lane, quad);
        for (code, byte) in codes.iter().zip(bytes) {
            *byte |= (code & 1) << quad;
        }
    }
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
