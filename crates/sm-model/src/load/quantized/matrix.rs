//! A matrix of a quantized checkpoint, read as one of our data types.
//!
//! ```text
//! checkpoint                             value                    becomes   because
//! 4 bits, all zero points 8              scale * (code - 8)       q4_0      it is the same formula
//! 4 bits, other zero points              scale * (code - zero)    q5_0      code - zero + 16 has 5 bits
//! 8 bits, all zero points in the middle  scale * (code - 128)     q8_0      code - 128 is a signed byte
//! MLX, 2 to 4 and 5 bits                 scale * code + bias      q4_1, q5_1
//! FP8                                    scale * value            bf16, rounded
//! everything else                                                 bf16, or f16 for codes of more than 5 bits; rounded
//! ```
//!
//! The block formats are exact: they take codes and scales as they are. They need scales and biases that f16 holds exactly, and
//! 32 neighbouring columns in one group. Rounding is from the exact product, once. BF16 is finer than any 4-bit grid; for 8-bit
//! codes it would be about as coarse as they are, which is why they become F16.

use std::ops::Range;

use sm_tensor::{BlockParts, DType, QuantizeError, quantize, write_block};

use super::codes::Codes;
use super::grid::{Grid, Orientation, ZeroPoints};
use super::note::Loss;
use super::number::{Number, round_to_odd};
use super::part::Part;
use crate::LoadError;
use crate::load::TensorInfo;

/// Values per block of the formats used here.
const BLOCK_LEN: usize = 32;
/// Largest finite f16.
const MAX_F16: f32 = 65504.0;
/// Leaves any sum as it is, also that with a negative zero.
const NO_BIAS: f32 = -0.0;

/// Why rows of a quantized matrix could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    File(#[from] LoadError),
    #[error(transparent)]
    Values(#[from] QuantizeError),
}

/// The group of each column.
#[derive(Debug)]
pub(super) enum Groups {
    /// Of this many columns each.
    Even(usize),
    /// `[n_cols]`, as GPTQ's `desc_act` reorders them.
    Listed(Vec<u32>),
}

impl Groups {
    /// Those of a list, which is often in order.
    pub(super) fn of(list: Vec<u32>, group_len: usize) -> Self {
        let is_even = list.iter().enumerate().all(|(column, &group)| group as usize == column / group_len);
        if is_even { Self::Even(group_len) } else { Self::Listed(list) }
    }

    fn of_column(&self, column: usize) -> usize {
        match self {
            Self::Even(len) => column / len,
            Self::Listed(list) => list[column] as usize,
        }
    }

    /// Why the columns of some block belong to several groups.
    fn obstacle(&self) -> Option<Loss> {
        match self {
            Self::Even(len) if !len.is_multiple_of(BLOCK_LEN) => Some(Loss::GroupLen),
            Self::Even(_) => None,
            Self::Listed(list) => {
                let is_one = |block: &[u32]| block.iter().all(|group| *group == block[0]);
                if list.chunks(BLOCK_LEN).all(is_one) { None } else { Some(Loss::ActOrder) }
            }
        }
    }
}

/// What is added to a scaled code, before or after scaling it.
#[derive(Debug)]
pub(super) enum Offset {
    /// `scale * (code - zero)`
    Zero(ZeroPoints),
    /// `scale * code + bias`
    Bias(Grid),
}

/// What a quantized matrix is made of.
#[derive(Debug)]
pub(super) struct MatrixParts {
    /// The name of the matrix.
    pub(super) name: String,
    /// How the checkpoint stores it, for people.
    pub(super) form: String,
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
    pub(super) codes: Codes,
    pub(super) orientation: Orientation,
    pub(super) number: Number,
    pub(super) scales: Grid,
    pub(super) offset: Offset,
    pub(super) groups: Groups,
    pub(super) n_groups: usize,
}

/// A matrix `[n_rows, n_cols]` of a quantized checkpoint.
#[derive(Debug)]
pub(crate) struct QuantizedMatrix {
    parts: MatrixParts,
    dtype: DType,
    loss: Option<Loss>,
}

/// The scale of a group, and what is added.
struct GroupValues {
    scale: f32,
    zero: i32,
    bias: f32,
}

impl QuantizedMatrix {
    /// Chooses the data type.
    pub(super) fn new(parts: MatrixParts) -> Self {
        let (dtype, loss) = match parts.block_format() {
            Ok(dtype) => (dtype, None),
            Err(loss) => (parts.float_type(), Some(loss)),
        };
        Self { parts, dtype, loss }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.parts.n_rows
    }

    /// How the checkpoint stores it, for people.
    pub(crate) fn form(&self) -> &str {
        &self.parts.form
    }

    /// Why values are rounded; `None` if they are not.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.loss
    }

    /// The matrix as a tensor of the model; its bytes are those of its rows, converted.
    pub(crate) fn info(&self) -> TensorInfo {
        let MatrixParts { name, n_rows, n_cols, .. } = &self.parts;
        let n_bytes = n_rows.saturating_mul(self.row_bytes());
        TensorInfo { name: name.clone(), shape: vec![*n_rows, *n_cols], dtype: self.dtype, bytes: 0..n_bytes }
    }

    fn row_bytes(&self) -> usize {
        self.dtype.row_bytes(self.parts.n_cols).unwrap_or_default()
    }

    /// The tensors it is made of.
    fn stored(&self) -> impl Iterator<Item = &Part> {
        let MatrixParts { codes, scales, offset, .. } = &self.parts;
        let offset = match offset {
            Offset::Zero(zeros) => zeros.part(),
            Offset::Bias(grid) => Some(grid.part()),
        };
        [codes.part(), scales.part()].into_iter().chain(offset)
    }

    /// Number of bytes of the tensors it is made of.
    pub(crate) fn n_stored_bytes(&self) -> usize {
        self.stored().map(Part::n_bytes).sum()
    }

    /// The bytes of the tensors it is made of, one after the other.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn stored_bytes(&self) -> Result<Vec<u8>, LoadError> {
        let mut all = Vec::new();
        for part in self.stored() {
            all.extend_from_slice(&part.bytes()?);
        }
        Ok(all)
    }

    /// Drops the tensors it is made of from memory, if they can be read from the file again.
    pub(crate) fn release(&self) {
        self.stored().for_each(Part::release);
    }

    /// Replaces `buffer` by rows in the data type of [`QuantizedMatrix::info`].
    ///
    /// # Errors
    /// If a file cannot be read, or the data type cannot represent a value.
    pub(crate) fn read_rows(&self, rows: Range<usize>, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        let codes = match self.parts.orientation {
            Orientation::RowsFirst => self.parts.codes.rows(rows.clone())?,
            Orientation::ColumnsFirst => self.parts.codes.columns(rows.clone())?,
        };
        buffer.clear();
        buffer.resize(rows.len() * self.row_bytes(), 0);
        if self.dtype.is_quantized() {
            self.write_blocks(rows, &codes, buffer);
            return Ok(());
        }
        let values = self.parts.values(rows, &codes);
        Ok(quantize(self.dtype, &values, buffer)?)
    }

    /// Writes `codes` of `rows` with their scales as blocks.
    fn write_blocks(&self, rows: Range<usize>, codes: &[u8], bytes: &mut [u8]) {
        let MatrixParts { n_cols, groups, .. } = &self.parts;
        let rows_of_bytes = bytes.chunks_exact_mut(self.row_bytes());
        for (row, (codes, bytes)) in rows.zip(codes.chunks_exact(*n_cols).zip(rows_of_bytes)) {
            let blocks = bytes.chunks_exact_mut(self.dtype.block_bytes());
            for (index, (codes, block)) in codes.as_chunks::<BLOCK_LEN>().0.iter().zip(blocks).enumerate() {
                let group = self.parts.group(row, groups.of_column(index * BLOCK_LEN));
                let shift = match self.dtype {
                    DType::Q4_0 => 8 - group.zero,
                    DType::Q5_0 => 16 - group.zero,
                    _ => -group.zero,
                };
                let codes = codes.map(|code| (i32::from(code) + shift) as u8);
                write_block(self.dtype, &BlockParts { scale: group.scale, min: group.bias, codes }, block);
            }
        }
    }
}

impl MatrixParts {
    /// The block format that holds the same numbers.
    ///
    /// # Errors
    /// Why there is none.
    fn block_format(&self) -> Result<DType, Loss> {
        let dtype = self.format_of_codes()?;
        if !self.n_cols.is_multiple_of(BLOCK_LEN) {
            return Err(Loss::RowLen);
        }
        if let Some(obstacle) = self.groups.obstacle() {
            return Err(obstacle);
        }
        let is_exact = self.scales.is_exact_in_f16()
            && match &self.offset {
                Offset::Bias(grid) => grid.is_exact_in_f16(),
                Offset::Zero(_) => true,
            };
        if is_exact { Ok(dtype) } else { Err(Loss::Scales) }
    }

    fn format_of_codes(&self) -> Result<DType, Loss> {
        let zeros_are = |zero| match &self.offset {
            Offset::Zero(zeros) => zeros.is_everywhere(zero, self.n_rows, self.n_groups),
            Offset::Bias(_) => false,
        };
        match (self.number, self.codes.bits(), &self.offset) {
            (Number::E4m3 | Number::E5m2, ..) => Err(Loss::Fp8),
            (Number::Unsigned, 2..=4, Offset::Bias(_)) => Ok(DType::Q4_1),
            (Number::Unsigned, 5, Offset::Bias(_)) => Ok(DType::Q5_1),
            (Number::Unsigned, 4, _) if zeros_are(8) => Ok(DType::Q4_0),
            (Number::Unsigned, 4, _) => Ok(DType::Q5_0),
            (Number::Unsigned, 8, _) if zeros_are(128) => Ok(DType::Q8_0),
            (Number::Signed, 8, _) if zeros_are(0) => Ok(DType::Q8_0),
            _ => Err(Loss::WideCodes),
        }
    }

    /// The float type for values that are rounded.
    fn float_type(&self) -> DType {
        let bits = self.codes.bits();
        if self.number.is_float() || bits <= 5 {
            return DType::Bf16;
        }
        // A zero point at most doubles the range.
        let reach = self.number.largest_integer(bits) * 2;
        let bias = match &self.offset {
            Offset::Bias(grid) => grid.largest(),
            Offset::Zero(_) => 0.0,
        };
        if self.scales.largest() * reach as f32 + bias <= MAX_F16 { DType::F16 } else { DType::Bf16 }
    }

    fn group(&self, row: usize, group: usize) -> GroupValues {
        let scale = self.scales.get(row, group);
        match &self.offset {
            Offset::Zero(zeros) => GroupValues { scale, zero: zeros.get(row, group), bias: NO_BIAS },
            Offset::Bias(grid) => GroupValues { scale, zero: 0, bias: grid.get(row, group) },
        }
    }

    /// The values of `rows`, rounded to odd.
    fn values(&self, rows: Range<usize>, codes: &[u8]) -> Vec<f32> {
        let numbers = self.number.table();
        let mut values = Vec::with_capacity(codes.len());
        for (row, codes) in rows.zip(codes.chunks_exact(self.n_cols)) {
            let groups: Vec<GroupValues> = (0..self.n_groups).map(|group| self.group(row, group)).collect();
            values.extend(codes.iter().enumerate().map(|(column, &code)| {
                let GroupValues { scale, zero, bias } = groups[self.groups.of_column(column)];
                let number = numbers[usize::from(code)] - zero as f32;
                // Exact: a scale has 24 significant bits and a number at most 9.
                round_to_odd(f64::from(scale) * f64::from(number) + f64::from(bias))
            }));
        }
        values
    }
}
