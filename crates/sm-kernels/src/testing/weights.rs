//! Random weights for a plan.

use std::collections::HashMap;
use std::ops::Range;

use half::f16;
use sm_tensor::DType;

use crate::plan::{Plan, WeightError, WeightSource};

/// `n` values between -1 and 1, the same for the same name.
pub fn random_values(name: &str, n: usize) -> Vec<f32> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    });
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// As [`random_values`], but such that blocks of int8 hold them exactly: multiples of 1/128, and the first of 32 is 127/128.
pub fn random_blocks(name: &str, n: usize) -> Vec<f32> {
    let code = |(i, value): (usize, f32)| if i % 32 == 0 { 127.0 } else { (value * 127.0).round() };
    random_values(name, n).into_iter().enumerate().map(|value| code(value) / 128.0).collect()
}

/// Blocks of `dtype` that store `values`. Those of a type without quantizer have the magnitude of the values, but are
/// otherwise random.
///
/// # Panics
/// If the values do not fill whole blocks, or are not finite.
pub fn encoded(dtype: DType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; dtype.row_bytes(values.len()).expect("whole blocks")];
    if dtype.is_writable() {
        sm_tensor::quantize(dtype, values, &mut bytes).expect("finite values");
        return bytes;
    }
    let format = dtype.indexed().expect("a type of indexed values");
    let largest = format.table.iter().fold(0, |largest, value| value.unsigned_abs().max(largest));
    for (block, values) in bytes.chunks_mut(dtype.block_bytes()).zip(values.chunks(dtype.block_len())) {
        block.iter_mut().zip(values).for_each(|(byte, value)| *byte = (value.to_bits() >> 8) as u8);
        let amax = values.iter().fold(0.0_f32, |amax, value| amax.max(value.abs()));
        // Scales are odd numbers of up to 31.
        let scale = f16::from_f32(amax / (31.0 * format.unit * f32::from(largest)));
        set_scale(dtype, block, scale.to_bits());
    }
    bytes
}

/// Sets the f16 that scales a block of a type of indexed values.
fn set_scale(dtype: DType, block: &mut [u8], scale: u16) {
    if dtype != DType::Iq1M {
        block[..2].copy_from_slice(&scale.to_le_bytes());
        return;
    }
    for (i, byte) in block[49..].iter_mut().step_by(2).enumerate() {
        *byte = *byte & 15 | ((scale >> (4 * i) & 15) << 4) as u8;
    }
}

struct Tensor {
    dtype: DType,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

/// The tensors that a plan names: matrices of random values, scaled so that activations keep their size; vectors
/// between 0.5 and 1.5.
pub struct RandomWeights {
    matrices: HashMap<String, Tensor>,
    vectors: HashMap<String, Vec<f32>>,
}

impl std::fmt::Debug for RandomWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} random matrices, {} random vectors", self.matrices.len(), self.vectors.len())
    }
}

impl RandomWeights {
    /// Makes the weights of `plan`.
    ///
    /// # Panics
    /// If a matrix cannot have its data type.
    pub fn new(plan: &Plan) -> Self {
        let mut weights = Self { matrices: HashMap::new(), vectors: HashMap::new() };
        for matrix in &plan.matrices {
            for part in &matrix.parts {
                let scale = (3.0 / matrix.cols as f32).sqrt();
                let mut values = random_values(&part.tensor, part.rows * matrix.cols);
                values.iter_mut().for_each(|value| *value *= scale);
                let bytes = encoded(part.dtype, &values);
                let tensor = Tensor { dtype: part.dtype, rows: part.rows, cols: matrix.cols, bytes };
                weights.matrices.insert(part.tensor.clone(), tensor);
            }
        }
        for vector in &plan.vectors {
            for part in &vector.parts {
                let values = random_values(part, vector.len / vector.parts.len());
                weights.vectors.insert(part.clone(), values.iter().map(|value| 1.0 + 0.5 * value).collect());
            }
        }
        weights
    }

    /// Replaces a row of an `f32` matrix part.
    ///
    /// # Panics
    /// If there is no such tensor or row, or it is stored otherwise.
    pub fn fill_row(&mut self, tensor: &str, row: usize, value: f32) {
        let tensor = self.matrices.get_mut(tensor).expect("a tensor of the plan");
        assert!(tensor.dtype == DType::F32 && row < tensor.rows, "row {row} of a {} tensor", tensor.dtype);
        for bytes in tensor.bytes[row * tensor.cols * 4..][..tensor.cols * 4].as_chunks_mut().0 {
            *bytes = value.to_le_bytes();
        }
    }

    /// The values of a matrix part, row-major, as the kernels see them.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn values(&self, tensor: &str) -> Vec<f32> {
        let tensor = &self.matrices[tensor];
        let mut values = vec![0.0; tensor.rows * tensor.cols];
        sm_tensor::dequantize(tensor.dtype, &tensor.bytes, &mut values).expect("whole rows");
        values
    }
}

impl WeightSource for RandomWeights {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        _buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        let missing = || WeightError::Missing { tensor: tensor.to_owned() };
        let found = self.matrices.get(tensor).ok_or_else(missing)?;
        let row_bytes = found.bytes.len() / found.rows;
        Ok(&found.bytes[rows.start * row_bytes..rows.end * row_bytes])
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        let missing = || WeightError::Missing { tensor: tensor.to_owned() };
        self.vectors.get(tensor).cloned().ok_or_else(missing)
    }
}
