//! Vectors of 64 bytes that hold a few bits of the codes of several quads.
//!
//! In a vector byte `4 lane + i` belongs to row `lane`, column `4 quad + i`.

use super::UNIT_LEN;
use crate::cpu::isa::Isa;

/// `byte` in each byte of a word.
const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// The codes of a unit, eight to a word: the compiler does not do that by itself with closures over bytes.
#[inline(always)]
fn words(codes: &[u8; UNIT_LEN]) -> [u64; 4] {
    bytemuck::cast(*codes)
}

/// Each of 32 bytes shifted right.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub(super) fn shift_right(bytes: &[u8], n_bits: usize) -> [u8; UNIT_LEN] {
    let bytes: &[u8; UNIT_LEN] = bytes.first_chunk().expect("32 bytes");
    let mut words = words(bytes);
    words.iter_mut().for_each(|word| *word = *word >> n_bits & each(255 >> n_bits));
    bytemuck::cast(words)
}

/// Puts four bytes into each vector, at the place of a row.
#[inline(always)]
fn put(bytes: &[u8], lane: usize, planes: &mut [[u8; 64]]) {
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
    let [a, b, c, d] = words(codes);
    let low = each(15);
    let bytes: [u8; 16] = bytemuck::cast([a & low | (c & low) << 4, b & low | (d & low) << 4]);
    put(&bytes, lane, planes);
}

/// The 2 low bits: four quads a vector.
#[inline(always)]
pub(super) fn put_pairs(codes: &[u8; UNIT_LEN], lane: usize, planes: &mut [[u8; 64]; 2]) {
    let quads: [u32; 8] = bytemuck::cast(*codes);
    for (plane, quads) in planes.iter_mut().zip(quads.as_chunks::<4>().0) {
        let mut bits = 0;
        for (quad, codes) in quads.iter().enumerate() {
            bits |= (codes & each(3) as u32) << (2 * quad);
        }
        put(bytemuck::bytes_of(&bits), lane, std::slice::from_mut(plane));
    }
}

/// The lowest bit: eight quads a vector.
#[inline(always)]
pub(super) fn put_bits(codes: &[u8; UNIT_LEN], lane: usize, plane: &mut [u8; 64]) {
    let quads: [u32; 8] = bytemuck::cast(*codes);
    let mut bits = 0;
    for (quad, codes) in quads.iter().enumerate() {
        bits |= (codes & each(1) as u32) << quad;
    }
    put(bytemuck::bytes_of(&bits), lane, std::slice::from_mut(plane));
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
    let bytes: [u8; 16] = *bytes.first_chunk().expect("16 bytes");
    let [a, b]: [u64; 2] = bytemuck::cast(bytes);
    let low = each(15);
    bytemuck::cast([a & low, b & low, a >> 4 & low, b >> 4 & low])
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
