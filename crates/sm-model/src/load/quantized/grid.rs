//! Scales, minima and zero points: one for each group of codes.
//!
//! ```text
//! whole tensor      []                           channel      [n_rows] or [n_rows, 1]
//! groups            [n_rows, n_groups]           blocks       [ceil(n_rows / height), ceil(n_cols / width)]
//! groups of GPTQ and AWQ   [n_groups, n_rows]
//! ```

use half::{bf16, f16};
use sm_tensor::DType;

use super::codes::HeldCodes;
use super::part::Part;
use crate::LoadError;
use crate::load::stored::StoredAs;

/// A float for each group: that of `row` and `group` is at `row / height * row_stride + group * group_stride`.
#[derive(Debug)]
pub(super) struct Grid {
    part: Part,
    /// Few beside those of the codes, and wanted one by one.
    bytes: Vec<u8>,
    dtype: DType,
    height: usize,
    row_stride: usize,
    group_stride: usize,
}

impl Grid {
    fn new(part: Part, height: usize, row_stride: usize, group_stride: usize) -> Result<Self, LoadError> {
        const FLOATS: [StoredAs; 3] =
            [StoredAs::Own(DType::F32), StoredAs::Own(DType::F16), StoredAs::Own(DType::Bf16)];
        part.expect_type(&FLOATS, "F32, F16 or BF16")?;
        let dtype = part.stored.dtype();
        let bytes = part.bytes()?.into_owned();
        Ok(Self { part, bytes, dtype, height, row_stride, group_stride })
    }

    /// `[n_groups, n_rows]`
    pub(super) fn by_group(part: Part, n_groups: usize, n_rows: usize) -> Result<Self, LoadError> {
        part.expect_shape(&[n_groups, n_rows])?;
        Self::new(part, 1, 1, n_rows)
    }

    /// `[n_rows, n_groups]`
    pub(super) fn by_row(part: Part, n_rows: usize, n_groups: usize) -> Result<Self, LoadError> {
        part.expect_shape(&[n_rows, n_groups])?;
        Self::new(part, 1, n_groups, 1)
    }

    /// Blocks of `height` rows; `n_groups` next to each other.
    pub(super) fn by_block(
        part: Part,
        n_rows: usize,
        height: usize,
        n_groups: usize,
    ) -> Result<Self, LoadError> {
        part.expect_shape(&[n_rows.div_ceil(height), n_groups])?;
        Self::new(part, height, n_groups, 1)
    }

    /// One for the whole matrix, or one for each row.
    pub(super) fn by_tensor_or_row(part: Part, n_rows: usize) -> Result<Self, LoadError> {
        let shape = part.shape.as_slice();
        if matches!(shape, [] | [1] | [1, 1]) {
            return Self::new(part, 1, 0, 0);
        }
        if shape == [n_rows] || shape == [n_rows, 1] {
            return Self::new(part, 1, 1, 0);
        }
        Err(part.error(format!(
            "it has shape {shape:?}, expected one value, or one for each of the {n_rows} rows"
        )))
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    pub(super) fn get(&self, row: usize, group: usize) -> f32 {
        let index = row / self.height * self.row_stride + group * self.group_stride;
        let size = self.dtype.block_bytes();
        read_float(self.dtype, &self.bytes[index * size..][..size])
    }

    fn values(&self) -> impl Iterator<Item = f32> {
        self.bytes.chunks_exact(self.dtype.block_bytes()).map(|bytes| read_float(self.dtype, bytes))
    }

    /// Whether f16 holds every value exactly.
    pub(super) fn is_exact_in_f16(&self) -> bool {
        let is_exact = |value: f32| f16::from_f32(value).to_f32().to_bits() == value.to_bits();
        self.dtype == DType::F16 || self.values().all(is_exact)
    }

    /// The largest magnitude.
    pub(super) fn largest(&self) -> f32 {
        self.values().fold(0.0, |largest, value| largest.max(value.abs()))
    }
}

fn read_float(dtype: DType, bytes: &[u8]) -> f32 {
    match (dtype, bytes) {
        (DType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (DType::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        (_, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (dtype, bytes) => panic!("a {dtype} of {} bytes", bytes.len()),
    }
}

/// Which way round a matrix of codes is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orientation {
    /// Rows of ours first.
    RowsFirst,
    /// Columns, or groups of columns, of ours first.
    ColumnsFirst,
}

/// The integer that stands for zero in each group.
#[derive(Debug)]
pub(super) enum ZeroPoints {
    /// The same in all.
    Fixed(i32),
    /// Packed as codes are.
    Packed {
        codes: HeldCodes,
        orientation: Orientation,
        /// Added to each, within its bits: the zero points of GPTQ are stored less one.
        plus: u8,
    },
    /// Signed bytes; that of `row` and `group` is at `row * row_stride + group * group_stride`.
    Bytes {
        part: Part,
        bytes: Vec<u8>,
        row_stride: usize,
        group_stride: usize,
        /// Added to each.
        plus: i32,
    },
}

impl ZeroPoints {
    pub(super) fn part(&self) -> Option<&Part> {
        match self {
            Self::Fixed(_) => None,
            Self::Packed { codes, .. } => Some(codes.part()),
            Self::Bytes { part, .. } => Some(part),
        }
    }

    pub(super) fn get(&self, row: usize, group: usize) -> i32 {
        match self {
            Self::Fixed(zero) => *zero,
            Self::Packed { codes, orientation, plus } => {
                let stored = match orientation {
                    Orientation::RowsFirst => codes.get(row, group),
                    Orientation::ColumnsFirst => codes.get(group, row),
                };
                (i32::from(stored) + i32::from(*plus)) & ((1 << codes.bits()) - 1)
            }
            Self::Bytes { bytes, row_stride, group_stride, plus, .. } => {
                i32::from(bytes[row * row_stride + group * group_stride].cast_signed()) + plus
            }
        }
    }

    /// Whether the zero point of every group is `zero`.
    pub(super) fn is_everywhere(&self, zero: i32, n_rows: usize, n_groups: usize) -> bool {
        match self {
            Self::Fixed(fixed) => *fixed == zero,
            _ => (0..n_groups).all(|group| (0..n_rows).all(|row| self.get(row, group) == zero)),
        }
    }
}
