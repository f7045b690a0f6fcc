//! The data type of each tensor of a GGUF file, and the conversion to it.

use std::thread;

use sm_tensor::{DType, QuantizeError, ShapeError, dequantize, quantize};

use crate::export::ExportError;
use crate::export::plan::Target;
use crate::weights::fitting_dtype;

/// Values converted per thread at a time.
const CHUNK_VALUES: usize = 1 << 20;

/// The data type for a tensor stored as `from`, if `wanted` is requested for matrices.
pub(super) fn dtype(target: &Target, from: DType, wanted: DType) -> DType {
    let Some(&cols) = target.shape.last() else { return from };
    if is_matrix(&target.name, &target.shape) {
        return fitting_dtype(wanted, cols);
    }
    // Vectors are small and sensitive, and readers expect them in F32.
    if from.is_quantized() { from } else { DType::F32 }
}

/// Whether to quantize a tensor. Routers, learned positions and norms are small and sensitive.
pub(super) fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let is_small = ["ffn_gate_inp.", "position_embd.", "_norm."].iter().any(|part| name.contains(part));
    shape.len() >= 2 && !is_small
}

/// `general.file_type`: llama.cpp's number for files that are mostly of this type (`LLAMA_FTYPE_MOSTLY_*`).
pub(super) fn file_type(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Q4_0 => 2,
        DType::Q4_1 => 3,
        DType::Q8_0 => 7,
        DType::Q5_0 => 8,
        DType::Q5_1 => 9,
        DType::Q2K => 10,
        DType::Q3K => 11,
        DType::Q4K => 14,
        DType::Q5K => 16,
        DType::Q6K => 18,
        DType::Iq4Nl => 25,
        DType::Iq4Xs => 30,
        DType::Iq3S => 26,
        DType::Iq3Xxs => 23,
        DType::Iq2S => 28,
        DType::Iq2Xs => 20,
        DType::Iq2Xxs => 19,
        DType::Iq1M => 31,
        DType::Iq1S => 24,
        DType::Mxfp4 => 38,
        DType::Tq2_0 => 37,
        DType::Tq1_0 => 36,
        DType::Q1_0 => 40,
        DType::Bf16 => 32,
    }
}

/// Converts rows of `cols` values on several threads and passes them to `write` in order.
pub(super) fn convert(
    bytes: &[u8],
    from: DType,
    to: DType,
    cols: usize,
    write: &mut dyn FnMut(&[u8]) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let quantize_error = |source| ExportError::Quantize { tensor: String::new(), source };
    let row_bytes =
        from.row_bytes(cols).ok_or(QuantizeError::Shape(ShapeError::PartialBlock { dtype: from, cols }));
    let chunk_bytes = row_bytes.map_err(quantize_error)? * (CHUNK_VALUES / cols.max(1)).max(1);
    let chunks: Vec<&[u8]> = bytes.chunks(chunk_bytes.max(1)).collect();
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    for group in chunks.chunks(n_threads) {
        let converted: Vec<Result<Vec<u8>, QuantizeError>> = thread::scope(|scope| {
            let workers: Vec<_> =
                group.iter().map(|chunk| scope.spawn(|| convert_chunk(chunk, from, to))).collect();
            let joined = workers.into_iter().map(|worker| match worker.join() {
                Ok(converted) => converted,
                Err(panic) => std::panic::resume_unwind(panic),
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
fn convert_chunk(bytes: &[u8], from: DType, to: DType) -> Result<Vec<u8>, QuantizeError> {
    let mut values = vec![0.0; bytes.len() / from.block_bytes() * from.block_len()];
    dequantize(from, bytes, &mut values)?;
    let row_bytes =
        to.row_bytes(values.len()).ok_or(ShapeError::PartialBlock { dtype: to, cols: values.len() })?;
    let mut stored = vec![0; row_bytes];
    quantize(to, &values, &mut stored)?;
    Ok(stored)
}
