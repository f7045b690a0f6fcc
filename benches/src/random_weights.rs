//! Random weights for plans that are only timed, generated on demand.

use std::ops::Range;

use sm_kernels::plan::{MatrixPart, WeightError, WeightSource};
use sm_tensor::DType;

/// Random bytes with small f16 scales for matrices, ones for vectors. Tensor names say which.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights;

impl RandomWeights {
    /// A part of a matrix with `cols` columns.
    pub fn part(dtype: DType, rows: usize, cols: usize) -> MatrixPart {
        MatrixPart { tensor: format!("{} {cols}", dtype.name()), dtype, rows }
    }

    /// The parts of a vector of `len` values.
    pub fn vector(len: usize) -> Vec<String> {
        vec![format!("ones {len}")]
    }
}

/// The two words of a tensor name.
fn parse(tensor: &str) -> Result<(&str, usize), WeightError> {
    let words = tensor.split_once(' ').and_then(|(kind, len)| Some((kind, len.parse().ok()?)));
    words.ok_or_else(|| WeightError::Missing { tensor: tensor.to_owned() })
}

impl WeightSource for RandomWeights {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        let unreadable = |reason: String| WeightError::Unreadable { tensor: tensor.to_owned(), reason };
        let (dtype, cols) = parse(tensor)?;
        let dtype: DType = dtype.parse().map_err(|error| unreadable(format!("{error}")))?;
        let row_bytes = dtype.row_bytes(cols).ok_or_else(|| unreadable("partial blocks".to_owned()))?;
        let mut state = 1_u32;
        buffer.clear();
        buffer.extend((0..rows.len() * row_bytes).map(|index| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The high byte of each number gets a small exponent.
            if index % 2 == 0 { (state >> 24) as u8 } else { (state >> 24) as u8 & 0x3b }
        }));
        Ok(buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        Ok(vec![1.0; parse(tensor)?.1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_the_weights_are() {
        let part = RandomWeights::part(DType::Q4_0, 3, 64);
        let mut buffer = Vec::new();
        let rows = RandomWeights.matrix_rows(&part.tensor, 1..3, &mut buffer).unwrap();
        assert_eq!(rows.len(), 2 * 2 * DType::Q4_0.block_bytes());
        assert_eq!(RandomWeights.vector(&RandomWeights::vector(2)[0]).unwrap(), [1.0, 1.0]);
        assert!(RandomWeights.matrix_rows("q4_0", 0..1, &mut Vec::new()).is_err());
        assert!(RandomWeights.matrix_rows("q4_0 33", 0..1, &mut Vec::new()).is_err());
    }
}
