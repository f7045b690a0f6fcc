//! Collects what a plan needs of a model's tensors while the plan is built.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use sm_kernels::plan::MatrixPart;
use sm_tensor::DType;

use super::{Fallback, MatrixView, VectorView, Weights};
use crate::LoadError;
use crate::load::tensors::Tensors;
use crate::names::{LinearLayout, Naming, Place, Role};
use crate::spec::DecoderSpec;

/// Rows of a tensor that form a matrix of the plan.
#[derive(Clone, Debug)]
pub(crate) struct RowRange {
    /// The rows, in the tensor without its leading dimensions.
    pub(crate) rows: Range<usize>,
    /// The shape that the tensor must have, as `[…, out_features, in_features]`.
    pub(crate) shape: Vec<usize>,
}

impl RowRange {
    /// All rows of a tensor of `shape`.
    pub(crate) fn all(shape: &[usize]) -> Self {
        let n_rows = shape[..shape.len() - 1].iter().product();
        Self { rows: 0..n_rows, shape: shape.to_vec() }
    }
}

/// Registers tensors by their part in the decoder and checks their shapes.
#[derive(Debug)]
pub(crate) struct Registry {
    weights: Weights,
    naming: Naming,
    norm_offset: f32,
    quant: Option<DType>,
    used: HashSet<usize>,
}

impl Registry {
    /// For the tensors of a model; matrices of linear maps and the embedding become `quant` if given.
    pub(crate) fn new(tensors: Tensors, naming: Naming, norm_offset: f32, quant: Option<DType>) -> Self {
        let weights =
            Weights { tensors, matrices: HashMap::new(), vectors: HashMap::new(), fallbacks: Vec::new() };
        Self { weights, naming, norm_offset, quant, used: HashSet::new() }
    }

    /// Whether the file has a tensor for this part.
    pub(crate) fn has(&self, role: Role, place: Place) -> bool {
        self.naming.candidates(role, place, "weight").any(|name| self.weights.tensors.contains(&name))
    }

    /// Registers a matrix, or some rows of one.
    pub(crate) fn matrix(
        &mut self,
        role: Role,
        place: Place,
        part: RowRange,
    ) -> Result<MatrixPart, LoadError> {
        let (name, tensor) = self.find(role, place, "weight")?;
        let layout = if is_linear_of_layer(role) { self.naming.linear } else { LinearLayout::OutIn };
        let (info, _) = self.weights.tensors.at(tensor);
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
        let dtype = match (role, stored) {
            // Not in BF16, to which its products round activations: the choice of experts depends on little.
            (Role::Router, DType::Bf16) => DType::F32,
            _ if is_quantizable(role) => self.dtype_for(&name, cols, stored),
            _ => stored,
        };
        let is_whole = rows == (0..tensor_rows);
        let key = if is_whole { name } else { format!("{name}[{}..{}]", rows.start, rows.end) };
        let (first_row, n_rows) = (rows.start, rows.len());
        let view = MatrixView { tensor, layout, tensor_rows, first_row, rows: n_rows, cols, dtype };
        self.weights.matrices.insert(key.clone(), view);
        Ok(MatrixPart { tensor: key, dtype, rows: n_rows })
    }

    /// Registers a vector and gives its name.
    pub(crate) fn vector(
        &mut self,
        role: Role,
        place: Place,
        suffix: &str,
        len: usize,
    ) -> Result<String, LoadError> {
        let (name, tensor) = self.find(role, place, suffix)?;
        let (info, _) = self.weights.tensors.at(tensor);
        if info.shape != [len] {
            return Err(LoadError::Shape { tensor: name, found: info.shape.clone(), expected: vec![len] });
        }
        let offset = if suffix == "weight" { self.norm_offset } else { 0.0 };
        self.weights.vectors.insert(name.clone(), VectorView { tensor, offset });
        Ok(name)
    }

    /// The registered weights.
    ///
    /// # Errors
    /// If the files hold a tensor that the plan does not use: the configuration then does not describe the model.
    pub(crate) fn finish(self, spec: &DecoderSpec) -> Result<Weights, LoadError> {
        let infos = self.weights.tensors.infos().iter().enumerate();
        let mut unused = infos.filter(|(index, _)| !self.used.contains(index)).map(|(_, info)| &info.name);
        let tied_head =
            || spec.head.tied.then(|| self.naming.tensor(Role::Head, Place::default(), "weight")).flatten();
        let is_fine = |name: &&String| self.naming.is_ignorable(name) || tied_head().as_ref() == Some(*name);
        match unused.find(|name| !is_fine(name)) {
            Some(name) => Err(LoadError::UnusedTensor { tensor: name.clone() }),
            None => Ok(self.weights),
        }
    }

    fn find(&mut self, role: Role, place: Place, suffix: &str) -> Result<(String, usize), LoadError> {
        let candidates: Vec<String> = self.naming.candidates(role, place, suffix).collect();
        let found =
            candidates.iter().find_map(|name| Some((name.clone(), self.weights.tensors.position(name)?)));
        if let Some((_, index)) = found {
            self.used.insert(index);
        }
        let role_of_layer = || format!("{role:?} of layer {}", place.layer);
        found.ok_or_else(|| LoadError::MissingTensor {
            tensor: candidates.into_iter().next().unwrap_or_else(role_of_layer),
        })
    }

    /// The format for a matrix whose rows have `cols` values.
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

/// The format nearest to `wanted` whose blocks fit into rows of `cols` values.
pub(crate) fn fitting_dtype(wanted: DType, cols: usize) -> DType {
    let fits = |dtype: &DType| cols.is_multiple_of(dtype.block_len());
    [wanted, small_block(wanted), DType::F16].into_iter().find(fits).unwrap_or(DType::F16)
}

/// The format with blocks of 32 that keeps at least as much as one with blocks of 256.
fn small_block(dtype: DType) -> DType {
    match dtype {
        DType::Q2K | DType::Q3K => DType::Iq4Nl,
        DType::Q4K => DType::Q5_0,
        DType::Q5K => DType::Q5_1,
        DType::Q6K => DType::Q8_0,
        other => other,
    }
}

fn is_linear_of_layer(role: Role) -> bool {
    matches!(
        role,
        Role::Qkv
            | Role::Q
            | Role::K
            | Role::V
            | Role::AttentionOut
            | Role::GateUp
            | Role::Gate
            | Role::Up
            | Role::Down
    )
}

/// Routers and positions are small and sensitive, and stay as they are.
fn is_quantizable(role: Role) -> bool {
    !matches!(role, Role::Router | Role::Positions)
}
