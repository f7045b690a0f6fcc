//! Exports models to GGUF, optionally quantized.
//!
//! ```text
//! model ─► metadata (metadata, tokenizer) ─┐
//!       ─► targets: names, order of values ├─► GgufWriter ─► file.part ─► read back, compared ─► file
//!          (plan, values), types (storage) ┘
//! ```
//!
//! The output matches llama.cpp's `convert_hf_to_gguf.py`; tests compare it with files written by the Python package
//! `gguf`. GGUF cannot express everything a `config.json` can, and relies on conventions. So the written file is loaded
//! again and its decoder compared with the original before it gets its final name.

mod check;
mod importance;
mod metadata;
mod plan;
mod pre_tokenizer;
mod storage;
mod tokenizer;
mod values;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use importance::ImportanceMatrix;
use sm_tensor::{DType, QuantizeError};

use crate::LoadError;
use crate::export::plan::Target;
use crate::export::storage::Conversion;
use crate::load::gguf::{GgufWriter, TensorSpec, WriteError};
use crate::load::tensors::Tensors;
use crate::metadata::{Metadata, Value};
use crate::mixture::{Mixture, MixtureModel, is_matrix};
use crate::model::{Model, ModelSource};
use crate::spec::{AttentionSpec, DecoderSpec, FfnKind};

/// Why a model could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model cannot be read, or cannot be expressed as a GGUF file.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Models of this kind cannot be exported.
    #[error("{} cannot be exported to GGUF; use a Hugging Face directory or a GGUF file", path.display())]
    Source {
        /// The model's path.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file's content is invalid.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A tensor has values that the data type cannot represent.
    #[error("tensor {tensor:?}: {source}")]
    Quantize {
        /// The tensor.
        tensor: String,
        /// The quantizer's error.
        source: QuantizeError,
    },
    /// The written file would describe a different decoder.
    #[error("GGUF cannot express this {architecture} model: its {field} would change")]
    NotExpressible {
        /// The model's architecture.
        architecture: &'static str,
        /// What would change.
        field: &'static str,
    },
}

/// How to export a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExportOptions {
    /// The data type of each matrix.
    pub mixture: Mixture,
    /// The importance of the inputs of each matrix, for the quantizers. None by default.
    pub importance: Option<ImportanceMatrix>,
}

impl ExportOptions {
    /// Options for matrices in these data types.
    pub const fn new(mixture: Mixture) -> Self {
        Self { mixture, importance: None }
    }

    sm_tensor::some_setters! {
        importance: ImportanceMatrix,
    }
}

/// Statistics of an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Number of tensors.
    pub n_tensors: usize,
    /// Bytes of all tensors in the source.
    pub source_bytes: u64,
    /// Bytes of all tensors in the file written.
    pub written_bytes: u64,
    /// Matrices stored in a different type than the mixture's because their rows are not whole blocks.
    pub n_fallbacks: usize,
    /// Matrices that were quantized without the importance of their inputs, which the importance matrix lacks.
    pub n_without_importance: usize,
    /// Matrices that were already quantized and so lost accuracy twice.
    pub n_requantized: usize,
    /// The length that the context was cut to: that of the model's sliding windows, which GGUF files of its architecture do
    /// not have.
    pub cut_context_len: Option<usize>,
}

/// The content of the file to be written.
struct Export<'m> {
    /// What the file describes.
    spec: DecoderSpec,
    tensors: &'m Tensors,
    metadata: Metadata,
    targets: Vec<Target>,
    /// Tensors of the file that do not exist in the source.
    vectors: Vec<(&'static str, Vec<f32>)>,
}

/// Exports a model from a Hugging Face directory or a GGUF file to the GGUF file `target`. Keeps metadata and tokenizer. Replaces `target` only once the new file is complete and verified. `progress` receives the
/// source bytes done and their total.
///
/// # Errors
/// If GGUF cannot express the model, or the file cannot be written.
pub fn export_gguf(
    model: &Model,
    target: &Path,
    options: &ExportOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, ExportError> {
    let mut export = Export::new(model)?;
    export.metadata.insert("general.file_type", Value::U32(options.mixture.file_type()));
    export.metadata.insert("general.quantization_version", Value::U32(2));
    if let Some(importance) = &options.importance {
        importance.describe(&mut export.metadata);
    }
    let cut = export.spec.max_context_len;
    let partial = target.with_added_extension("part");
    let written = export.write(&partial, options, progress).and_then(|mut written| {
        written.cut_context_len = (cut < model.spec.max_context_len).then_some(cut);
        check::same_decoder(&export.spec, &partial)?;
        let renamed = std::fs::rename(&partial, target);
        renamed.map(|()| written).map_err(|source| ExportError::Io { path: target.to_owned(), source })
    });
    if written.is_err() {
        // Report the first error, not this one.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

impl<'m> Export<'m> {
    fn new(model: &'m Model) -> Result<Self, ExportError> {
        let spec = &model.spec;
        let tensors = model.weights.files();
        match &model.source {
            ModelSource::Gguf { metadata, .. } => {
                let targets = (0..tensors.infos().len()).map(|index| Target::same(tensors, index)).collect();
                let metadata = metadata.as_ref().clone();
                Ok(Self { spec: spec.clone(), tensors, metadata, targets, vectors: Vec::new() })
            }
            ModelSource::Directory(dir) => {
                let architecture = metadata::architecture(spec)?;
                let spec = metadata::expressible(spec, &architecture);
                let mut metadata = tokenizer::metadata(dir, spec.vocab_size)?;
                metadata::write(&spec, &architecture, &mut metadata);
                metadata::xielu(&spec, tensors, &mut metadata)?;
                if let Some(name) = dir.file_name().and_then(|name| name.to_str()) {
                    metadata.insert("general.name", Value::String(name.to_owned()));
                }
                let targets = plan::targets(&spec, tensors, architecture.naming(), architecture.pairs)?;
                let vectors = metadata::divisors(&spec);
                Ok(Self { spec, tensors, metadata, targets, vectors })
            }
            ModelSource::Smnd { path, .. } => Err(ExportError::Source { path: path.clone() }),
        }
    }

    /// Writes the file.
    fn write(
        &self,
        path: &Path,
        options: &ExportOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Exported, ExportError> {
        let io_error = |source| ExportError::Io { path: path.to_owned(), source };
        let out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io_error)?);
        let vectors = self.vectors.iter().map(|(name, values)| TensorSpec {
            name: (*name).to_owned(),
            shape: vec![values.len()],
            dtype: DType::F32,
        });
        let model = self.mixture_model(options);
        let stored = self.targets.iter().map(|target| {
            let dtype = self.dtype(target, options.mixture, &model);
            TensorSpec { name: target.name.clone(), shape: target.shape.clone(), dtype }
        });
        let specs: Vec<TensorSpec> = vectors.chain(stored).collect();
        let mut writer = GgufWriter::new(out, &self.metadata, &specs)?;
        for (_, values) in &self.vectors {
            writer.write(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        let total = self.tensors.infos().iter().map(|info| info.bytes.len() as u64).sum();
        let is_fallback = |target: &&Target| options.mixture.falls_back(&target.name, &target.shape, &model);
        let n_fallbacks = self.targets.iter().filter(is_fallback).count();
        let mut exported = Exported { n_tensors: specs.len(), n_fallbacks, ..Exported::default() };
        for (target, spec) in self.targets.iter().zip(&specs[self.vectors.len()..]) {
            self.write_tensor(target, spec, options, &mut writer, &mut exported)?;
            progress(exported.source_bytes.min(total), total);
        }
        let written = writer.finish()?.into_inner().map_err(|error| io_error(error.into_error()))?;
        written.sync_all().map_err(io_error)?;
        Ok(exported)
    }

    /// What the mixture depends on.
    fn mixture_model(&self, options: &ExportOptions) -> MixtureModel {
        let spec = &self.spec;
        let heads_per_kv_head = |attention: &AttentionSpec| attention.n_heads / attention.n_kv_heads.max(1);
        let n_experts = spec.layers.iter().map(|layer| match &layer.ffn.kind {
            FfnKind::Experts(experts) => experts.n_experts,
            _ => 0,
        });
        MixtureModel::new(spec.layers.len())
            .is_tied(spec.head.tied)
            .heads_per_kv_head(spec.attentions().map(heads_per_kv_head).max().unwrap_or(1))
            .n_experts(n_experts.max().unwrap_or(0))
            .has_importance(options.importance.is_some())
    }

    /// The data type of a tensor of the file. Vectors are small and sensitive, and readers expect them in F32.
    fn dtype(&self, target: &Target, mixture: Mixture, model: &MixtureModel) -> DType {
        let from = target.dtype(self.tensors);
        let keeps_type =
            target.shape.is_empty() || from.is_quantized() && !is_matrix(&target.name, &target.shape);
        if keeps_type { from } else { mixture.dtype_of(&target.name, &target.shape, model) }
    }

    /// Writes a tensor according to `spec`.
    fn write_tensor<W: Write>(
        &self,
        target: &Target,
        spec: &TensorSpec,
        options: &ExportOptions,
        writer: &mut GgufWriter<W>,
        exported: &mut Exported,
    ) -> Result<(), ExportError> {
        let from = target.dtype(self.tensors);
        let bytes: Cow<'_, [u8]> = target.bytes(self.tensors)?;
        exported.source_bytes += bytes.len() as u64;
        if from == spec.dtype {
            exported.written_bytes += bytes.len() as u64;
            return Ok(writer.write(&bytes)?);
        }
        exported.n_requantized += usize::from(from.is_quantized());
        let cols = spec.shape.last().copied().unwrap_or(1);
        let importance = importance_of(spec, options)?;
        let is_missing = importance.is_none() && spec.dtype.is_quantized() && options.importance.is_some();
        exported.n_without_importance += usize::from(is_missing);
        let conversion = Conversion { from, to: spec.dtype, cols, importance };
        let converted = conversion.run(&bytes, &mut |stored| {
            exported.written_bytes += stored.len() as u64;
            Ok(writer.write(stored)?)
        });
        converted.map_err(|error| match error {
            ExportError::Quantize { source, .. } => {
                ExportError::Quantize { tensor: spec.name.clone(), source }
            }
            other => other,
        })
    }
}

/// The importance of the inputs of a tensor's matrices, if they will be quantized.
fn importance_of<'o>(spec: &TensorSpec, options: &'o ExportOptions) -> Result<Option<&'o [f32]>, LoadError> {
    match (&options.importance, spec.shape.as_slice()) {
        (Some(importance), [matrices @ .., _, cols]) if spec.dtype.is_quantized() => {
            importance.of(&spec.name, matrices.iter().product(), *cols)
        }
        _ => Ok(None),
    }
}
