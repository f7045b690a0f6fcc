//! Groups of values in the types of 1 to 3 bits: their grids, signs and indices.
//!
//! An entry of a grid has the magnitudes of 4 or 8 values as codes of 3 or 2 bits, the first in the lowest bits. With
//! the sign above it, a code is an index into a table of 16 values.

mod one_bit;
mod three_bits;
mod two_bits;

pub(super) use one_bit::IQ1_GRID;
pub(super) use three_bits::{IQ3_S_GRID, IQ3_XXS_GRID};
pub(super) use two_bits::{IQ2_S_GRID, IQ2_XS_GRID, IQ2_XXS_GRID};

/// The bit of an index that is set for negative values.
const SIGN: u32 = 3;

/// The table of values whose magnitudes are these.
pub(super) const fn signed_table<const N: usize>(magnitudes: [i8; N]) -> [i8; 16] {
    let mut table = [0; 16];
    let mut code = 0;
    while code < N {
        table[code] = magnitudes[code];
        table[code | 1 << SIGN] = -magnitudes[code];
        code += 1;
    }
    table
}

/// The signs of 8 values, of which the lowest 7 bits are stored: an even number is negative.
pub(super) fn even_signs(bits: u32) -> u8 {
    let stored = bits as u8 & 0x7f;
    stored | (stored.count_ones() as u8 & 1) << 7
}

/// The indices of 8 values: an entry of a grid of 2-bit codes, and a sign bit for each.
pub(super) fn indices_of_8(entry: u16, signs: u8) -> [u8; 8] {
    std::array::from_fn(|i| (entry >> (2 * i)) as u8 & 3 | (signs >> i & 1) << SIGN)
}

/// The indices of 4 values: an entry of a grid of 3-bit codes, and a sign bit for each.
pub(super) fn indices_of_4(entry: u16, signs: u8) -> [u8; 4] {
    std::array::from_fn(|i| (entry >> (3 * i)) as u8 & 7 | (signs >> i & 1) << SIGN)
}
