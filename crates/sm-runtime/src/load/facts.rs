//! What a model is, as its files say.

use std::collections::BTreeMap;

use sm_model::{Model, ModelSource};
use sm_tensor::DType;

/// What a model is, as its files say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelFacts {
    /// The architecture's name, such as `qwen3`.
    pub architecture: &'static str,
    /// Number of values in all tensors.
    pub n_parameters: u64,
    /// The data type of most parameters, as stored. `None` of a model without tensors.
    pub dtype: Option<DType>,
    /// Where it comes from: `gguf`, `safetensors` or `smnd`.
    pub format: &'static str,
    /// The longest context that the model supports, in positions.
    pub max_context_len: usize,
    /// Values per position in the residual stream.
    pub hidden_size: usize,
    /// Number of layers.
    pub n_layers: usize,
}

impl ModelFacts {
    pub(super) fn of_model(model: &Model) -> Self {
        let mut n_values = BTreeMap::<DType, u64>::new();
        for tensor in model.weights.tensors() {
            *n_values.entry(tensor.dtype).or_default() += tensor.n_values() as u64;
        }
        Self {
            architecture: model.architecture(),
            n_parameters: model.n_parameters(),
            dtype: n_values.into_iter().max_by_key(|(_, n)| *n).map(|(dtype, _)| dtype),
            format: match model.source {
                ModelSource::Directory(_) => "safetensors",
                ModelSource::Gguf { .. } => "gguf",
                ModelSource::Smnd { .. } => "smnd",
            },
            max_context_len: model.spec.max_context_len,
            hidden_size: model.spec.hidden_size,
            n_layers: model.spec.layers.len(),
        }
    }
}
