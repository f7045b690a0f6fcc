//! How a matrix is cut into pieces: rows of one form, few enough for a binding.

use std::ops::Range;

use crate::gpu::form::Form;
use crate::plan::{MatrixDecl, PrepareError};

/// The rows that one dispatch can multiply: workgroups of 8 along one axis of the grid.
const MAX_ROWS: usize = 8 * 65_535;

/// Consecutive rows of a matrix in one form.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) form: Form,
    pub(super) first_row: usize,
    pub(super) rows: usize,
    /// Parts of the matrix by index, and rows of each.
    pub(super) ranges: Vec<(usize, Range<usize>)>,
}

/// Cuts a matrix into pieces no plane of which has more than `max_bytes`. Parts of one form that follow each other, such as q,
/// k and v, stay together: a dispatch multiplies them all.
///
/// # Errors
/// If a single row is too large.
pub(super) fn pieces(decl: &MatrixDecl, max_bytes: u64) -> Result<Vec<Piece>, PrepareError> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut first_row = 0;
    for (index, part) in decl.parts.iter().enumerate() {
        let form = Form::of(part.dtype);
        let row_bytes = 4 * form.row_words(decl.cols).largest() as u64;
        let max_rows = usize::try_from(max_bytes / row_bytes.max(1)).unwrap_or(MAX_ROWS).min(MAX_ROWS);
        if max_rows == 0 {
            return Err(PrepareError::Unsupported(format!(
                "a row of {} has {row_bytes} bytes, and a kernel on this device sees at most {max_bytes}; use --device cpu",
                decl.name
            )));
        }
        let mut start = 0;
        while start < part.rows {
            let room = pieces
                .last()
                .filter(|last| last.form == form)
                .map_or(0, |last| max_rows.saturating_sub(last.rows));
            if room == 0 {
                pieces.push(Piece { form, first_row, rows: 0, ranges: Vec::new() });
                continue;
            }
            let n_rows = room.min(part.rows - start);
            if let Some(last) = pieces.last_mut() {
                last.ranges.push((index, start..start + n_rows));
                last.rows += n_rows;
            }
            start += n_rows;
            first_row += n_rows;
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::MatrixPart;
    use sm_tensor::DType;

    fn cut(parts: &[(usize, DType)], max_bytes: u64) -> Vec<Piece> {
        let parts = parts.iter().map(|&(rows, dtype)| MatrixPart { tensor: String::new(), dtype, rows });
        let decl = MatrixDecl { name: "m".to_owned(), cols: 256, parts: parts.collect() };
        pieces(&decl, max_bytes).unwrap()
    }

    #[test]
    fn parts_of_one_form_stay_together_as_far_as_they_fit() {
        let parts = [(10, DType::Q8_0), (4, DType::Q8_0), (4, DType::Q6K)];
        let piece = |dtype, first_row, rows, ranges: &[(usize, Range<usize>)]| Piece {
            form: Form::of(dtype),
            first_row,
            rows,
            ranges: ranges.to_vec(),
        };
        let last = piece(DType::Q6K, 14, 4, &[(2, 0..4)]);
        let whole = piece(DType::Q8_0, 0, 14, &[(0, 0..10), (1, 0..4)]);
        assert_eq!(cut(&parts, u64::MAX), [whole, last.clone()]);
        // 8 rows of 256 bytes of codes.
        let first = piece(DType::Q8_0, 0, 8, &[(0, 0..8)]);
        let second = piece(DType::Q8_0, 8, 6, &[(0, 8..10), (1, 0..4)]);
        assert_eq!(cut(&parts, 2100), [first, second, last]);
    }

    #[test]
    fn a_row_that_no_binding_holds_is_refused() {
        let parts = vec![MatrixPart { tensor: String::new(), dtype: DType::F32, rows: 1 }];
        let decl = MatrixDecl { name: "table".to_owned(), cols: 256, parts };
        let error = pieces(&decl, 1000).unwrap_err().to_string();
        assert!(error.contains("a row of table has 1024 bytes") && error.contains("at most 1000"), "{error}");
    }
}
