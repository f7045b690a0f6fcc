//! Eight scales and eight minima of 6 bits in 12 bytes, as Q4_K and Q5_K store them.
//!
//! ```text
//! byte j      scale[j]     | high 2 bits of scale[j + 4] << 6        j = 0..4
//! byte j + 4  min[j]       | high 2 bits of min[j + 4] << 6
//! byte j + 8  low 4 bits of scale[j + 4] | low 4 bits of min[j + 4] << 4
//! ```
//!
//! Source: `get_scale_min_k4` of ggml's `ggml-quants.c`.

/// Unpacks the eight scales and the eight minima of a Q4_K or Q5_K block: the 12 bytes after the two
/// f16 factors.
///
/// # Panics
/// If `packed` has fewer than 12 bytes.
#[inline(always)]
pub fn unpack_k_scales(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let mut scales = [0; 8];
    let mut mins = [0; 8];
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = packed[j + 8] & 15 | packed[j] >> 6 << 4;
        mins[j + 4] = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;
    }
    (scales, mins)
}

/// Packs the first eight scales and minima, each below 64.
pub(super) fn pack(scales: &[u8; 16], mins: &[u8; 16], packed: &mut [u8]) {
    for j in 0..4 {
        packed[j] = scales[j] | scales[j + 4] >> 4 << 6;
        packed[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        packed[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
}
