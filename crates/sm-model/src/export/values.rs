//! The order of a tensor's values on its way to a GGUF file.

use std::borrow::Cow;

use sm_tensor::{DType, dequantize};

use crate::LoadError;
use crate::load::TensorInfo;

/// What becomes of the values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    AsIs,
    /// The rows of each head go from two halves to neighbours, so that the pairs which are rotated together are adjacent.
    AdjacentPairs {
        head_dim: usize,
    },
    /// Rows and columns change places; the values become `f32`.
    Transposed,
    /// A constant is added to each value; the values become `f32`.
    Plus(f32),
}

/// The values of a tensor in another layout.
///
/// # Errors
/// If the shape does not allow it.
pub(super) fn arranged<'t>(
    info: &TensorInfo,
    bytes: &'t [u8],
    layout: Layout,
) -> Result<Cow<'t, [u8]>, LoadError> {
    match layout {
        Layout::AsIs => Ok(bytes.into()),
        Layout::AdjacentPairs { head_dim } => pairs_adjacent(info, bytes, head_dim).map(Cow::from),
        Layout::Transposed => transposed(info, bytes).map(Cow::from),
        Layout::Plus(offset) => Ok(to_bytes(to_f32(info, bytes)?.iter().map(|value| value + offset)).into()),
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

/// Rows `first half, second half` of each head as `first of first, first of second, second of first, …`.
fn pairs_adjacent(info: &TensorInfo, bytes: &[u8], head_dim: usize) -> Result<Vec<u8>, LoadError> {
    let n_rows = info.shape[0];
    if head_dim == 0 || !head_dim.is_multiple_of(2) || !n_rows.is_multiple_of(head_dim) {
        return Err(layout_error(info, info.dtype, &format!("its rows are no whole heads of {head_dim}")));
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

fn transposed(info: &TensorInfo, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let &[n_rows, n_cols] = info.shape.as_slice() else {
        return Err(layout_error(info, info.dtype, "it is no matrix"));
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

    fn arrange(shape: &[usize], layout: Layout) -> Vec<f32> {
        let n_values: usize = shape.iter().product();
        let bytes = to_bytes((0..n_values).map(|value| value as f32));
        let arranged = arranged(&info(shape), &bytes, layout).unwrap();
        arranged.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    #[test]
    fn halves_become_neighbours_in_each_head() {
        let layout = Layout::AdjacentPairs { head_dim: 4 };
        assert_eq!(arrange(&[8], layout), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(arrange(&[4, 2], layout), [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
    }

    #[test]
    fn matrices_are_transposed_and_norms_shifted() {
        assert_eq!(arrange(&[2, 3], Layout::Transposed), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(arrange(&[3], Layout::Plus(1.0)), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn rows_that_are_no_whole_heads_are_refused() {
        let bytes = [0; 24];
        assert!(arranged(&info(&[6]), &bytes, Layout::AdjacentPairs { head_dim: 4 }).is_err());
    }
}
