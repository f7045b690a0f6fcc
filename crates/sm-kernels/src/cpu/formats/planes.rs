//! Codes of 1, 2, 4 or 8 bits, several quads to a vector of 64 bytes.
//!
//! ```text
//!                 vectors of a segment     vector v, byte 4 lane + i: row `lane`, column i of the quad
//! pack8           8                        quad v
//! pack4           4                        quad v | quad (v + 4) << 4
//! pack2           2                        quad 4v | quad (4v + 1) << 2 | quad (4v + 2) << 4 | quad (4v + 3) << 6
//! pack1           1                        quad q in bit q
//! ```
//!
//! One shift and one mask take a quad out. A code of 3, 5 or 6 bits is put together from two planes.
//!
//! Packing works on eight codes to a `u64`: with closures over single bytes the compiler did not vectorise, and loading a
//! model in Q4_K_M took nearly three times the processor time.

use super::SEGMENT_LEN;
use crate::cpu::isa::Isa;

/// `byte` in each byte of a `u64`.
const fn each(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// The codes of a segment, eight to a `u64`.
#[inline(always)]
fn words(codes: &[u8; SEGMENT_LEN]) -> [u64; 4] {
    bytemuck::cast(*codes)
}

/// The first 32 bytes, each shifted right by `n_bits`.
///
/// # Panics
/// If there are fewer than 32.
#[inline(always)]
pub(super) fn shift_right(bytes: &[u8], n_bits: usize) -> [u8; SEGMENT_LEN] {
    let bytes: &[u8; SEGMENT_LEN] = bytes.first_chunk().expect("32 bytes");
    let mut words = words(bytes);
    words.iter_mut().for_each(|word| *word = *word >> n_bits & each(255 >> n_bits));
    bytemuck::cast(words)
}

/// Writes four bytes to each vector, in lane `lane`.
#[inline(always)]
fn scatter(bytes: &[u8], lane: usize, planes: &mut [[u8; 64]]) {
    for (plane, bytes) in planes.iter_mut().zip(bytes.as_chunks::<4>().0) {
        plane.as_chunks_mut::<4>().0[lane] = *bytes;
    }
}

/// Packs whole bytes: one quad to a vector.
#[inline(always)]
pub(super) fn pack8(codes: &[u8; SEGMENT_LEN], lane: usize, planes: &mut [[u8; 64]; 8]) {
    scatter(codes, lane, planes);
}

/// Packs the 4 low bits: two quads to a vector.
#[inline(always)]
pub(super) fn pack4(codes: &[u8; SEGMENT_LEN], lane: usize, planes: &mut [[u8; 64]; 4]) {
    let [a, b, c, d] = words(codes);
    let low = each(15);
    let bytes: [u8; 16] = bytemuck::cast([a & low | (c & low) << 4, b & low | (d & low) << 4]);
    scatter(&bytes, lane, planes);
}

/// Packs the 2 low bits: four quads to a vector.
#[inline(always)]
pub(super) fn pack2(codes: &[u8; SEGMENT_LEN], lane: usize, planes: &mut [[u8; 64]; 2]) {
    let quads: [u32; 8] = bytemuck::cast(*codes);
    for (plane, quads) in planes.iter_mut().zip(quads.as_chunks::<4>().0) {
        let mut bits = 0;
        for (quad, codes) in quads.iter().enumerate() {
            bits |= (codes & each(3) as u32) << (2 * quad);
        }
        scatter(bytemuck::bytes_of(&bits), lane, std::slice::from_mut(plane));
    }
}

/// Packs the lowest bit: eight quads to a vector.
#[inline(always)]
pub(super) fn pack1(codes: &[u8; SEGMENT_LEN], lane: usize, plane: &mut [u8; 64]) {
    let quads: [u32; 8] = bytemuck::cast(*codes);
    let mut bits = 0;
    for (quad, codes) in quads.iter().enumerate() {
        bits |= (codes & each(1) as u32) << quad;
    }
    scatter(bytemuck::bytes_of(&bits), lane, std::slice::from_mut(plane));
}

/// A quad that [`pack4`] wrote.
#[inline(always)]
pub(super) fn unpack4<I: Isa>(isa: I, planes: &[[u8; 64]; 4], quad: usize) -> I::Bytes {
    let right = if quad < 4 { 0 } else { 4 };
    isa.shift_bytes(isa.load_bytes(&planes[quad % 4]), -right, 15)
}

/// A quad that [`pack2`] wrote, shifted left by `position`.
#[inline(always)]
pub(super) fn unpack2<I: Isa>(isa: I, planes: &[[u8; 64]; 2], quad: usize, position: i32) -> I::Bytes {
    let left = position - (quad % 4 * 2) as i32;
    isa.shift_bytes(isa.load_bytes(&planes[quad / 4]), left, 3 << position)
}

/// A quad that [`pack1`] wrote, shifted left by `position`.
#[inline(always)]
pub(super) fn unpack1<I: Isa>(isa: I, plane: &[u8; 64], quad: usize, position: i32) -> I::Bytes {
    isa.shift_bytes(isa.load_bytes(plane), position - quad as i32, 1 << position)
}

/// The 32 nibbles of a block of the file: in byte `j` code `j` below code `j + 16`.
#[inline(always)]
pub(super) fn file_codes4(bytes: &[u8]) -> [u8; SEGMENT_LEN] {
    let bytes: [u8; 16] = *bytes.first_chunk().expect("16 bytes");
    let [a, b]: [u64; 2] = bytemuck::cast(bytes);
    let low = each(15);
    bytemuck::cast([a & low, b & low, a >> 4 & low, b >> 4 & low])
}

/// As [`file_codes4`], with fifth bits: bit `j` of the little-endian `u32` at `fifth` belongs to code `j`.
#[inline(always)]
pub(super) fn file_codes5(fifth: &[u8], bytes: &[u8]) -> [u8; SEGMENT_LEN] {
    let mut codes = file_codes4(bytes);
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= (fifth[j / 8] >> (j % 8) & 1) << 4;
    }
    codes
}
