//! Rearranges tensor values for GGUF.

use std::borrow::Cow;

use sm_tensor::{DType, dequantize};

use crate::LoadError;
use crate::load::TensorInfo;

/// A rearrangement of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rearrangement {
    None,
    /// Within each head, moves rows rotated together from opposite halves to neighbouring positions
    /// (`LlamaModel.permute` of llama.cpp's converter).
    PairNeighbours {
        head_dim: usize,
    },
    /// Transposes the matrix; the values become `f32`.
    Transpose,
    /// Adds a constant to each value; the values become `f32`.
    Add(f32),
}

/// The values of a tensor, rearranged.
///
/// # Errors
/// If the shape does not allow it.
pub(super) fn rearranged<'t>(
    info: &TensorInfo,
    bytes: Cow<'t, [u8]>,
    rearrangement: Rearrangement,
) -> Result<Cow<'t, [u8]>, LoadError> {
    match rearrangement {
        Rearrangement::None => Ok(bytes),
        Rearrangement::PairNeighbours { head_dim } => pair_neighbours(info, &bytes, head_dim).map(Cow::from),
        Rearrangement::Transpose => transpose(info, &bytes).map(Cow::from),
        Rearrangement::Add(offset) => {
            Ok(to_bytes(to_f32(info, &bytes)?.iter().map(|value| value + offset)).into())
        }
    }
}

/// The values as `f32`.
///
/// # Errors
/// If the bytes do not fit the shape.
pub(super) fn to_f32(info: &TensorInfo, bytes: &[u8]) -> Result<Vec<f32>, LoadError> {
    let mut values = vec![0.0; info.n_values()];
    dequantize(info.dtype, bytes, &mut values)
        .map_err(|error| layout_error(info, info.dtype, &error.to_string()))?;
    Ok(values)
}

/// The values as `f32`, stored.
///
/// # Errors
/// As [`to_f32`].
pub(super) fn to_f32_bytes(info: &TensorInfo, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    Ok(to_bytes(to_f32(info, bytes)?.into_iter()))
}

/// Interleaves the two halves of each head's rows: `a0 a1 … b0 b1 …` becomes `a0 b0 a1 b1 …`.
fn pair_neighbours(info: &TensorInfo, bytes: &[u8], head_dim: usize) -> Result<Vec<u8>, LoadError> {
    let n_rows = info.shape[0];
    if head_dim == 0 || !head_dim.is_multiple_of(2) || !n_rows.is_multiple_of(head_dim) {
        return Err(layout_error(info, info.dtype, &format!("its rows are not whole heads of {head_dim}")));
    }
    let row_bytes = bytes.len() / n_rows;
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..n_rows {
        let (head, within) = (row / head_dim, row % head_dim);
        let from = head * head_dim + within % 2 * (head_dim / 2) + within / 2;
        out.extend_from_slice(&bytes[from * row_bytes..][..row_bytes]);
    }
    Ok(out)
}

fn transpose(info: &TensorInfo, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let &[n_rows, n_cols] = info.shape.as_slice() else {
        return Err(layout_error(info, info.dtype, "it is not a matrix"));
    };
    let values = to_f32(info, bytes)?;
    let order = (0..n_cols).flat_map(|col| (0..n_rows).map(move |row| row * n_cols + col));
    Ok(to_bytes(order.map(|index| values[index])))
}

fn to_bytes(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

fn layout_error(info: &TensorInfo, dtype: DType, reason: &str) -> LoadError {
    LoadError::TensorLayout {
        tensor: info.name.clone(),
        shape: info.shape.iter().map(|&extent| extent as u64).collect(),
        dtype,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(shape: &[usize]) -> TensorInfo {
        let n_values: usize = shape.iter().product();
        TensorInfo { name: "t".into(), shape: shape.into(), dtype: DType::F32, bytes: 0..4 * n_values }
    }

    fn rearrange(shape: &[usize], rearrangement: Rearrangement) -> Vec<f32> {
        let n_values: usize = shape.iter().product();
        let bytes = to_bytes((0..n_values).map(|value| value as f32));
        let rearranged = rearranged(&info(shape), bytes.into(), rearrangement).unwrap();
        rearranged.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    #[test]
    fn halves_of_each_head_are_interleaved() {
        let rearrangement = Rearrangement::PairNeighbours { head_dim: 4 };
        assert_eq!(rearrange(&[8], rearrangement), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(rearrange(&[4, 2], rearrangement), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn matrices_are_transposed_and_norms_shifted() {
        assert_eq!(rearrange(&[2, 3], Rearrangement::Transpose), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(rearrange(&[3], Rearrangement::Add(1.0)), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn rows_that_are_not_whole_heads_are_refused() {
        let bytes = vec![0; 24].into();
        assert!(rearranged(&info(&[6]), bytes, Rearrangement::PairNeighbours { head_dim: 4 }).is_err());
    }
}
