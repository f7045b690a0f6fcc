//! Data types, ids, matrix views and quantization block formats: the vocabulary shared by all other
//! crates of SmallMind.
//!
//! Matrices are stored exactly as GGUF files store them. [`quantize`] and [`dequantize`] are the plain
//! reference implementation of every format:
//!
//! ```
//! use sm_tensor::{DType, dequantize, quantize};
//!
//! let row: Vec<f32> = (0..64).map(|i| (i as f32 * 0.3).sin()).collect();
//! let mut bytes = vec![0; DType::Q8_0.row_bytes(row.len()).unwrap()];
//! quantize(DType::Q8_0, &row, &mut bytes)?;
//! assert_eq!(bytes.len(), 68); // two blocks of 32 values: a scale and 32 codes each
//!
//! let mut back = vec![0.0; row.len()];
//! dequantize(DType::Q8_0, &bytes, &mut back)?;
//! assert!(row.iter().zip(&back).all(|(x, y)| (x - y).abs() <= 1.0 / 127.0));
//! # Ok::<(), sm_tensor::QuantizeError>(())
//! ```

mod dtype;
mod formats;
mod ids;
mod matrix;
mod setters;

pub use dtype::{DType, UnknownDType};
pub use formats::{
    BlockParts, IndexedBlock, IndexedFormat, QuantizeError, dequantize, quantize, quantize_important,
    unpack_k_scales, write_block,
};
pub use ids::{PageId, StateSlot, TokenId};
pub use matrix::{MatRef, ShapeError};
