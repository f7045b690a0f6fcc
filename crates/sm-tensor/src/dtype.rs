//! Storage types of matrix elements, with the ids and block sizes of GGUF.
//!
//! ```text
//!              block            bits per value
//! f32 f16 bf16     1 value      32, 16, 16
//! q8_0            32 values     8.5     scale
//! q4_0 iq4_nl     32 values     4.5     scale
//! mxfp4           32 values     4.25    power of two
//! q4_1            32 values     5.0     scale, minimum
//! q5_0            32 values     5.5     scale
//! q5_1            32 values     6.0     scale, minimum
//! q2_k           256 values     2.625   16 sub-blocks with scale and minimum
//! q3_k           256 values     3.4375  16 sub-blocks with scale
//! q4_k           256 values     4.5      8 sub-blocks with scale and minimum
//! q5_k           256 values     5.5      8 sub-blocks with scale and minimum
//! q6_k           256 values     6.5625  16 sub-blocks with scale
//! iq4_xs         256 values     4.25     8 sub-blocks with scale
//! iq3_s          256 values     3.4375   8 sub-blocks with scale, grid of 4 values
//! iq3_xxs        256 values     3.0625   8 sub-blocks with scale, grid of 4 values
//! iq2_s          256 values     2.5625  16 sub-blocks with scale, grid of 8 values
//! iq2_xs         256 values     2.3125  16 sub-blocks with scale, grid of 8 values
//! iq2_xxs        256 values     2.0625   8 sub-blocks with scale, grid of 8 values
//! iq1_m          256 values     1.75    16 sub-blocks with scale, grid of 8 values
//! iq1_s          256 values     1.5625   8 sub-blocks with scale, grid of 8 values
//! tq2_0          256 values     2.0625  scale of -1, 0, 1
//! tq1_0          256 values     1.6875  scale of -1, 0, 1
//! q1_0           128 values     1.125   scale of -1, 1
//! ```
//!
//! Types of 1 to 3 bits may take more memory than in the file: where a backend has no kernel for their grids, it keeps an
//! index of 4 bits per value, which loses nothing (`sm-kernels/src/cpu/formats.rs`).
//!
//! Source: the [GGUF specification](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) and the
//! `block_*` structs of ggml's `ggml-common.h`.

use std::fmt;

/// Storage type of a matrix. Names and layouts follow GGUF.
///
/// Deliberately exhaustive: a backend table that lacks a format must not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of an [`DType::F32`].
    Bf16,
    /// 8-bit codes, one scale per 32.
    Q8_0,
    /// 4-bit codes, one scale per 32.
    Q4_0,
    /// 4-bit codes, one scale and one minimum per 32.
    Q4_1,
    /// 5-bit codes, one scale per 32.
    Q5_0,
    /// 5-bit codes, one scale and one minimum per 32.
    Q5_1,
    /// 2-bit codes in super-blocks of 256, a 4-bit scale and minimum per 16.
    Q2K,
    /// 3-bit codes in super-blocks of 256, a 6-bit scale per 16.
    Q3K,
    /// 4-bit codes in super-blocks of 256, a 6-bit scale and minimum per 32.
    Q4K,
    /// 5-bit codes in super-blocks of 256, a 6-bit scale and minimum per 32.
    Q5K,
    /// 6-bit codes in super-blocks of 256, an 8-bit scale per 16.
    Q6K,
    /// 4-bit indices into a fixed table of 16 values, one scale per 32.
    Iq4Nl,
    /// 4-bit indices into the table of [`DType::Iq4Nl`] in super-blocks of 256, a 6-bit scale per 32.
    Iq4Xs,
    /// Positions of 4 values in a grid, in super-blocks of 256, a 4-bit scale per 32.
    Iq3S,
    /// As [`DType::Iq3S`], with a smaller grid and fewer signs.
    Iq3Xxs,
    /// Positions of 8 values in a grid, in super-blocks of 256, a 4-bit scale per 16.
    Iq2S,
    /// As [`DType::Iq2S`], with a smaller grid and fewer signs.
    Iq2Xs,
    /// As [`DType::Iq2Xs`], with a smaller grid and a scale per 32.
    Iq2Xxs,
    /// Positions of 8 values in a grid of -1, 0 and 1, shifted, in super-blocks of 256, a 3-bit scale per 16.
    Iq1M,
    /// As [`DType::Iq1M`], with a scale and a shift per 32.
    Iq1S,
    /// 4-bit floats, a power of two per 32.
    Mxfp4,
    /// -1, 0 and 1 in 2 bits, one scale per 256.
    Tq2_0,
    /// -1, 0 and 1, five to a byte, one scale per 256.
    Tq1_0,
    /// Signs, one scale per 128.
    Q1_0,
}

/// One row of [`TABLE`].
struct Info {
    dtype: DType,
    name: &'static str,
    ggml_id: u32,
    block_len: usize,
    block_bytes: usize,
}

const fn info(dtype: DType, name: &'static str, ggml_id: u32, block_len: usize, block_bytes: usize) -> Info {
    Info { dtype, name, ggml_id, block_len, block_bytes }
}

/// Every data type, in the order of the enum.
const TABLE: [Info; 26] = [
    info(DType::F32, "f32", 0, 1, 4),
    info(DType::F16, "f16", 1, 1, 2),
    info(DType::Bf16, "bf16", 30, 1, 2),
    info(DType::Q8_0, "q8_0", 8, 32, 34),
    info(DType::Q4_0, "q4_0", 2, 32, 18),
    info(DType::Q4_1, "q4_1", 3, 32, 20),
    info(DType::Q5_0, "q5_0", 6, 32, 22),
    info(DType::Q5_1, "q5_1", 7, 32, 24),
    info(DType::Q2K, "q2_k", 10, 256, 84),
    info(DType::Q3K, "q3_k", 11, 256, 110),
    info(DType::Q4K, "q4_k", 12, 256, 144),
    info(DType::Q5K, "q5_k", 13, 256, 176),
    info(DType::Q6K, "q6_k", 14, 256, 210),
    info(DType::Iq4Nl, "iq4_nl", 20, 32, 18),
    info(DType::Iq4Xs, "iq4_xs", 23, 256, 136),
    info(DType::Iq3S, "iq3_s", 21, 256, 110),
    info(DType::Iq3Xxs, "iq3_xxs", 18, 256, 98),
    info(DType::Iq2S, "iq2_s", 22, 256, 82),
    info(DType::Iq2Xs, "iq2_xs", 17, 256, 74),
    info(DType::Iq2Xxs, "iq2_xxs", 16, 256, 66),
    info(DType::Iq1M, "iq1_m", 29, 256, 56),
    info(DType::Iq1S, "iq1_s", 19, 256, 50),
    info(DType::Mxfp4, "mxfp4", 39, 32, 17),
    info(DType::Tq2_0, "tq2_0", 35, 256, 66),
    info(DType::Tq1_0, "tq1_0", 34, 256, 54),
    info(DType::Q1_0, "q1_0", 41, 128, 18),
];

/// A data type this build does not support.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown data type {found}; supported: {}", DType::names().join(", "))]
pub struct UnknownDType {
    /// The name or ggml id found.
    pub found: String,
}

impl DType {
    /// Every data type.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|info| info.dtype)
    }

    /// The names of all data types, as [`DType::name`] gives them.
    pub fn names() -> Vec<&'static str> {
        TABLE.iter().map(|info| info.name).collect()
    }

    /// The lower-case name: `f32`, `q8_0`, `q4_k`, ….
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].name
    }

    /// The id of this type in GGUF files (`ggml_type`).
    pub const fn ggml_id(self) -> u32 {
        TABLE[self as usize].ggml_id
    }

    /// The type with this id in GGUF files.
    ///
    /// # Errors
    /// If no supported type has that id.
    pub fn from_ggml_id(id: u32) -> Result<Self, UnknownDType> {
        let found = TABLE.iter().find(|info| info.ggml_id == id);
        found.map(|info| info.dtype).ok_or_else(|| UnknownDType { found: format!("ggml type {id}") })
    }

    /// Values per block; 1 for the float types.
    pub const fn block_len(self) -> usize {
        TABLE[self as usize].block_len
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        TABLE[self as usize].block_bytes
    }

    /// Whether the values of a block share a scale.
    pub const fn is_quantized(self) -> bool {
        self.block_len() != 1
    }

    /// Bytes of a row of `cols` values, or `None` if `cols` is not a multiple of the block length or
    /// the size overflows.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.block_len()) {
            (cols / self.block_len()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for DType {
    type Err = UnknownDType;

    /// Parses a name, ignoring case.
    fn from_str(name: &str) -> Result<Self, UnknownDType> {
        let found = TABLE.iter().find(|info| info.name.eq_ignore_ascii_case(name));
        found.map(|info| info.dtype).ok_or_else(|| UnknownDType { found: format!("{name:?}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_enum_order() {
        for (index, info) in TABLE.iter().enumerate() {
            assert_eq!(info.dtype as usize, index);
            assert_eq!(DType::from_ggml_id(info.ggml_id), Ok(info.dtype));
            assert_eq!(info.name.to_uppercase().parse(), Ok(info.dtype));
        }
    }

    #[test]
    fn unknown_type_error_lists_the_supported_types() {
        let message = DType::from_ggml_id(99).unwrap_err().to_string();
        assert!(message.contains("ggml type 99") && message.contains("q6_k"), "{message}");
    }
}
