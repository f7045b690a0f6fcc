//! Models of real shapes with random weights, as GGUF files that this engine and llama.cpp load.
//!
//! Speed depends on shapes and data types, not on weight values, so such a file replaces a multi-gigabyte download. Weights
//! are Gaussian, with a standard deviation that keeps activations in range. They are drawn in pieces of one quantization
//! block (or 32 floats) from a pool of 2²⁰ values per data type and deviation: rows differ, but writing the file takes
//! seconds instead of minutes of quantizing.

mod model;
mod noise;
mod shape;
mod vocabulary;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use sm_model::{GgufWriter, Mixture, WriteError};
use sm_tensor::{DType, QuantizeError};

pub use shape::{SHAPES, Shape};

/// Why a random model could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SynthError {
    /// The file cannot be created.
    #[error("cannot create {path}: {source}")]
    Create {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A matrix cannot be stored in the data type.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
}

/// The number of weights of a model of this shape.
pub fn n_weights(shape: &Shape) -> usize {
    let tensors = model::tensors(shape, Mixture::uniform(DType::F32));
    tensors.iter().map(|tensor| tensor.spec.shape.iter().product::<usize>()).sum()
}

/// Writes a model with random weights to `path`. The same arguments give the same bytes.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, shape: &Shape, mixture: Mixture, seed: u64) -> Result<(), SynthError> {
    let file = File::create(path)
        .map_err(|source| SynthError::Create { path: path.display().to_string(), source })?;
    let tensors = model::tensors(shape, mixture);
    let specs: Vec<_> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
    let metadata = model::metadata(shape, mixture);
    let mut writer = GgufWriter::new(BufWriter::with_capacity(1 << 20, file), &metadata, &specs)?;
    let mut noise = noise::Noise::new(seed);
    for tensor in &tensors {
        match &tensor.content {
            model::Content::Values(values) => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                writer.write(&bytes)?;
            }
            model::Content::Random { deviation } => {
                noise.fill(&mut writer, &tensor.spec, *deviation)?;
            }
        }
    }
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests;
