//! Records which tensors a plan reads, and how, while the plan is built.
//!
//! Tensors are found by [`TensorKey`], so the builder does not know names. Shapes are checked here against the
//! configuration. At the end no tensor may be left over: an unread tensor means that the configuration does not describe
//! the model.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use sm_kernels::plan::MatrixPart;
use sm_tensor::DType;

use super::{Fallback, MatrixView, VectorView, Weights};
use crate::LoadError;
use crate::load::stored::unread_error;
use crate::load::tensors::Tensors;
use crate::names::{LinearLayout, Naming, TensorKey, TensorKind};
use crate::spec::DecoderSpec;

/// The rows of a tensor that form a matrix of the plan.
#[derive(Clone, Debug)]
pub(crate) struct RowRange {
    /// The rows, counted over all leading dimensions.
    pub(crate) rows: Range<usize>,
    /// The required shape of the whole tensor, `[…, out_features, in_features]`.
    pub(crate) shape: Vec<usize>,
}

impl RowRange {
    /// All rows of a tensor of `shape`.
    pub(crate) fn all(shape: &[usize]) -> Self {
        let n_rows = shape[..shape.len() - 1].iter().product();
        Self { rows: 0..n_rows, shape: shape.to_vec() }
    }
}

/// Finds tensors by key, checks their shapes, and records how the plan reads them.
#[derive(Debug)]
pub(crate) struct Registry {
    weights: Weights,
    naming: Naming,
    norm_offset: f32,
    quant: Option<DType>,
    used: HashSet<usize>,
}

impl Registry {
    /// A registry of `tensors`. Linear matrices and the embedding are converted to `quant`, if given; `norm_offset` is
    /// added to norm weights.
    pub(crate) fn new(tensors: Tensors, naming: Naming, norm_offset: f32, quant: Option<DType>) -> Self {
        let weights =
            Weights { tensors, matrices: HashMap::new(), vectors: HashMap::new(), fallbacks: Vec::new() };
        Self { weights, naming, norm_offset, quant, used: HashSet::new() }
    }

    /// Whether the model has this tensor.
    pub(crate) fn has(&self, key: TensorKey) -> bool {
        self.naming.names(key, "weight").any(|name| self.weights.tensors.contains(&name))
    }

    /// Registers a matrix, or some rows of one.
    pub(crate) fn matrix(&mut self, key: TensorKey, part: RowRange) -> Result<MatrixPart, LoadError> {
        let (name, tensor) = self.find(key, "weight")?;
        // Quantized matrices have their rows first, whatever the layout of the original.
        let layout = match self.weights.tensors.quantized(tensor) {
            None if is_linear_of_layer(key.kind) => self.naming.linear,
            _ => LinearLayout::OutIn,
        };
        let info = &self.weights.tensors.infos()[tensor];
        let RowRange { rows, shape } = part;
        let mut stored_shape = shape.clone();
        if layout == LinearLayout::InOut {
            stored_shape.reverse();
        }
        if info.shape != stored_shape || shape.contains(&0) {
            return Err(LoadError::Shape { tensor: name, found: info.shape.clone(), expected: stored_shape });
        }
        let cols = shape[shape.len() - 1];
        let tensor_rows = shape[..shape.len() - 1].iter().product();
        let stored = info.dtype;
        let dtype = match (key.kind, stored) {
            // Products with BF16 or quantized weights round activations, which could change expert selection.
            (TensorKind::Router, stored) if stored == DType::Bf16 || stored.is_quantized() => DType::F32,
            _ if is_quantizable(key.kind) => self.dtype_for(&name, cols, stored),
            _ => stored,
        };
        let is_whole = rows == (0..tensor_rows);
        let view_name = if is_whole { name } else { format!("{name}[{}..{}]", rows.start, rows.end) };
        let n_rows = rows.len();
        let view =
            MatrixView { tensor, layout, tensor_rows, first_row: rows.start, rows: n_rows, cols, dtype };
        self.weights.matrices.insert(view_name.clone(), view);
        Ok(MatrixPart { tensor: view_name, dtype, rows: n_rows })
    }

    /// Registers a vector and returns its name.
    pub(crate) fn vector(&mut self, key: TensorKey, suffix: &str, len: usize) -> Result<String, LoadError> {
        let (name, tensor) = self.find(key, suffix)?;
        let info = &self.weights.tensors.infos()[tensor];
        // Hugging Face models, and some GGUF files, have the gate as a linear map with one output.
        let is_row = key.kind == TensorKind::SharedExpertGate && info.shape == [1, len];
        if info.shape != [len] && !is_row {
            return Err(LoadError::Shape { tensor: name, found: info.shape.clone(), expected: vec![len] });
        }
        let offset = if suffix == "weight" && key.kind.is_norm() { self.norm_offset } else { 0.0 };
        self.weights.vectors.insert(name.clone(), VectorView { tensor, offset });
        Ok(name)
    }

    /// The registered weights.
    ///
    /// # Errors
    /// [`LoadError::UnusedTensor`] if the plan does not read a tensor of the model.
    pub(crate) fn finish(self, spec: &DecoderSpec) -> Result<Weights, LoadError> {
        let tensors = &self.weights.tensors;
        let is_unused = |index: &usize| !self.used.contains(index) && !tensors.is_empty_bias(*index);
        let mut unused =
            (0..tensors.infos().len()).filter(is_unused).map(|index| &tensors.infos()[index].name);
        let tied_head =
            || spec.head.tied.then(|| self.naming.tensor(TensorKind::Head.of_model(), "weight")).flatten();
        let is_fine = |name: &&String| spec.is_ignorable(name) || tied_head().as_ref() == Some(*name);
        match unused.find(|name| !is_fine(name)) {
            Some(name) => Err(LoadError::UnusedTensor { tensor: name.clone() }),
            None => Ok(self.weights),
        }
    }

    fn find(&mut self, key: TensorKey, suffix: &str) -> Result<(String, usize), LoadError> {
        let candidates: Vec<String> = self.naming.names(key, suffix).collect();
        let found =
            candidates.iter().find_map(|name| Some((name.clone(), self.weights.tensors.position(name)?)));
        if let Some((_, index)) = found {
            self.used.insert(index);
        }
        if found.is_none()
            && let Some((name, stored)) =
                candidates.iter().find_map(|name| Some((name, self.weights.tensors.unread(name)?)))
        {
            return Err(unread_error(name, stored));
        }
        let kind_and_layer = || format!("{:?} of layer {}", key.kind, key.layer);
        found.ok_or_else(|| LoadError::MissingTensor {
            tensor: candidates.into_iter().next().unwrap_or_else(kind_and_layer),
        })
    }

    /// The data type for a matrix whose rows have `cols` values.
    fn dtype_for(&mut self, tensor: &str, cols: usize, stored: DType) -> DType {
        let Some(wanted) = self.quant else { return stored };
        let used = fitting_dtype(wanted, cols);
        let fallbacks = &mut self.weights.fallbacks;
        if used != wanted && fallbacks.iter().all(|known| known.tensor != tensor) {
            fallbacks.push(Fallback { tensor: tensor.to_owned(), cols, wanted, used });
        }
        used
    }
}

/// The data type closest to `wanted` whose blocks divide rows of `cols` values.
pub(crate) fn fitting_dtype(wanted: DType, cols: usize) -> DType {
    let fits = |dtype: &DType| cols.is_multiple_of(dtype.block_len());
    [wanted, small_block(wanted), DType::F16].into_iter().find(fits).unwrap_or(DType::F16)
}

/// The data type with blocks of 32 values that is at least as precise as the given one with longer blocks: llama.cpp's fallback,
/// except that it takes Q4_0 for Q2_K and Q3_K, which has the size of IQ4_NL and larger errors.
fn small_block(dtype: DType) -> DType {
    match dtype {
        DType::Tq2_0 | DType::Tq1_0 | DType::Q1_0 => DType::Q4_0,
        DType::Q2K
        | DType::Q3K
        | DType::Iq4Xs
        | DType::Iq3S
        | DType::Iq3Xxs
        | DType::Iq2S
        | DType::Iq2Xs
        | DType::Iq2Xxs
        | DType::Iq1M
        | DType::Iq1S => DType::Iq4Nl,
        DType::Q4K => DType::Q5_0,
        DType::Q5K => DType::Q5_1,
        DType::Q6K => DType::Q8_0,
        other => other,
    }
}

fn is_linear_of_layer(kind: TensorKind) -> bool {
    matches!(
        kind,
        TensorKind::Qkv
            | TensorKind::Q
            | TensorKind::K
            | TensorKind::V
            | TensorKind::AttentionOut
            | TensorKind::GateUp
            | TensorKind::Gate
            | TensorKind::Up
            | TensorKind::Down
    )
}

/// Whether a matrix may be quantized. Routers and learned positions are small and sensitive, so they keep their stored
/// type.
fn is_quantizable(kind: TensorKind) -> bool {
    !matches!(kind, TensorKind::Router | TensorKind::Positions)
}
