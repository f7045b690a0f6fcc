//! The conversion of a tensor's values to the data type that they have in the file.

use std::thread::{self, ScopedJoinHandle};

use sm_tensor::{DType, QuantizeError, ShapeError, dequantize, quantize, quantize_important};

use crate::export::ExportError;

/// Values converted per thread at a time.
const CHUNK_VALUES: usize = 1 << 20;

/// How to convert the rows of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversion<'a> {
    pub(super) from: DType,
    pub(super) to: DType,
    pub(super) cols: usize,
    /// The importance of the inputs of each matrix of the tensor: `[n_matrices, cols]`.
    pub(super) importance: Option<&'a [f32]>,
}

impl Conversion<'_> {
    /// Converts on several threads and passes the result to `write` in order.
    ///
    /// # Errors
    /// If a value cannot be stored, and those of `write`.
    pub(super) fn run(
        &self,
        bytes: &[u8],
        write: &mut dyn FnMut(&[u8]) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let Some(importance) = self.importance else { return self.rows(bytes, None, write) };
        let n_matrices = (importance.len() / self.cols.max(1)).max(1);
        let matrices = bytes.chunks((bytes.len() / n_matrices).max(1));
        for (matrix, importance) in matrices.zip(importance.chunks(self.cols.max(1))) {
            self.rows(matrix, Some(importance), write)?;
        }
        Ok(())
    }

    /// Converts rows whose inputs are of this importance.
    fn rows(
        &self,
        bytes: &[u8],
        importance: Option<&[f32]>,
        write: &mut dyn FnMut(&[u8]) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let Self { from, cols, .. } = *self;
        let quantize_error = |source| ExportError::Quantize { tensor: String::new(), source };
        let row_bytes =
            from.row_bytes(cols).ok_or(QuantizeError::Shape(ShapeError::PartialBlock { dtype: from, cols }));
        let chunk_bytes = row_bytes.map_err(quantize_error)? * (CHUNK_VALUES / cols.max(1)).max(1);
        let chunks: Vec<&[u8]> = bytes.chunks(chunk_bytes.max(1)).collect();
        let n_threads = thread::available_parallelism().map_or(1, usize::from);
        for group in chunks.chunks(n_threads) {
            let converted: Vec<Result<Vec<u8>, QuantizeError>> = thread::scope(|scope| {
                let convert = move |chunk: &[u8]| self.chunk(chunk, importance);
                let start = |&chunk| {
                    let worker = thread::Builder::new().spawn_scoped(scope, move || convert(chunk));
                    // A thread that is not to be had only makes this slower.
                    worker.map_err(|_| convert(chunk))
                };
                let workers: Vec<_> = group.iter().map(start).collect();
                let joined = workers.into_iter().map(|worker| match worker.map(ScopedJoinHandle::join) {
                    Ok(Ok(converted)) | Err(converted) => converted,
                    Ok(Err(panic)) => std::panic::resume_unwind(panic),
                });
                joined.collect()
            });
            for chunk in converted {
                write(&chunk.map_err(quantize_error)?)?;
            }
        }
        Ok(())
    }

    /// Converts whole rows.
    fn chunk(&self, bytes: &[u8], importance: Option<&[f32]>) -> Result<Vec<u8>, QuantizeError> {
        let Self { from, to, .. } = *self;
        let mut values = vec![0.0; bytes.len() / from.block_bytes() * from.block_len()];
        dequantize(from, bytes, &mut values)?;
        let row_bytes =
            to.row_bytes(values.len()).ok_or(ShapeError::PartialBlock { dtype: to, cols: values.len() })?;
        let mut stored = vec![0; row_bytes];
        match importance {
            Some(importance) => quantize_important(to, &values, importance, &mut stored)?,
            None => quantize(to, &values, &mut stored)?,
        }
        Ok(stored)
    }
}
