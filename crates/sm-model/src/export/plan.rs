//! Maps the tensors of a model to those of the GGUF file.
//!
//! Like llama.cpp's converter, it renames tensors, stacks experts, permutes q and k of architectures that rotate
//! neighbouring pairs, adds one to Gemma's norms and transposes GPT-2's matrices.

use std::borrow::Cow;
use std::collections::HashSet;

use sm_kernels::plan::{RopePairs, WeightError};
use sm_tensor::DType;

use crate::LoadError;
use crate::export::values::{self, Rearrangement};
use crate::load::tensors::Tensors;
use crate::names::{GGUF, LinearLayout, Naming, TensorKey, TensorKind};
use crate::spec::{DecoderSpec, ExpertsSpec, FfnKind};

/// A tensor of the file.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its name.
    pub(super) name: String,
    /// Its extents, slowest dimension first.
    pub(super) shape: Vec<usize>,
    /// Indices of its source tensors, in order.
    sources: Vec<usize>,
    rearrangement: Rearrangement,
}

impl Target {
    /// A tensor copied unchanged.
    pub(super) fn same(tensors: &Tensors, index: usize) -> Self {
        let info = &tensors.infos()[index];
        Self {
            name: info.name.clone(),
            shape: info.shape.clone(),
            sources: vec![index],
            rearrangement: Rearrangement::None,
        }
    }

    /// The data type of [`Target::bytes`].
    pub(super) fn dtype(&self, tensors: &Tensors) -> DType {
        let keeps_type =
            matches!(self.rearrangement, Rearrangement::None | Rearrangement::PairNeighbours { .. });
        let dtype = tensors.infos()[self.sources[0]].dtype;
        // Experts of a quantized checkpoint need not have the same type.
        let is_uniform = self.sources.iter().all(|&index| tensors.infos()[index].dtype == dtype);
        if keeps_type && is_uniform { dtype } else { DType::F32 }
    }

    /// Its values, in the order of the file.
    ///
    /// # Errors
    /// If the shape does not allow the rearrangement, or the values cannot be read.
    pub(super) fn bytes<'t>(&self, tensors: &'t Tensors) -> Result<Cow<'t, [u8]>, LoadError> {
        let of_source = |index: usize| {
            let info = &tensors.infos()[index];
            let bytes = tensors.bytes(index).map_err(|error| WeightError::Unreadable {
                tensor: info.name.clone(),
                reason: error.to_string(),
            })?;
            values::rearranged(info, bytes, self.rearrangement)
        };
        match self.sources.as_slice() {
            [only] => of_source(*only),
            several => {
                let mut joined = Vec::new();
                let dtype = self.dtype(tensors);
                for &index in several {
                    let info = &tensors.infos()[index];
                    let bytes = of_source(index)?;
                    match self.rearrangement {
                        Rearrangement::None if info.dtype != dtype => {
                            joined.extend(values::to_f32_bytes(info, &bytes)?);
                        }
                        _ => joined.extend_from_slice(&bytes),
                    }
                }
                Ok(joined.into())
            }
        }
    }
}

/// Collects the targets of a Hugging Face model.
#[derive(Debug)]
struct Collector<'a> {
    spec: &'a DecoderSpec,
    tensors: &'a Tensors,
    /// The names in the file.
    naming: Naming,
    /// How heads are rotated in the file.
    pairs: RopePairs,
    used: HashSet<usize>,
    targets: Vec<Target>,
}

/// The tensors of a GGUF file with this naming and these rotated pairs.
///
/// # Errors
/// If a tensor of the model cannot be part of a GGUF file.
pub(super) fn targets(
    spec: &DecoderSpec,
    tensors: &Tensors,
    naming: Naming,
    pairs: RopePairs,
) -> Result<Vec<Target>, LoadError> {
    let mut collector = Collector { spec, tensors, naming, pairs, used: HashSet::new(), targets: Vec::new() };
    for kind in [TensorKind::Embedding, TensorKind::Positions, TensorKind::OutputNorm, TensorKind::Head] {
        collector.add(kind.of_model());
    }
    for (layer, of_layer) in spec.layers.iter().enumerate() {
        let kinds = GGUF.iter().map(|(kind, _)| *kind).chain([TensorKind::GateUp]);
        for kind in kinds.filter(|kind| !is_global(*kind) && !is_single_expert(*kind)) {
            collector.add(kind.in_layer(layer));
        }
        if let FfnKind::Experts(ExpertsSpec { n_experts, .. }) = of_layer.ffn.kind {
            collector.add_experts(layer, n_experts);
        }
    }
    collector.finish()
}

fn is_global(kind: TensorKind) -> bool {
    matches!(kind, TensorKind::Embedding | TensorKind::Positions | TensorKind::OutputNorm | TensorKind::Head)
}

fn is_single_expert(kind: TensorKind) -> bool {
    matches!(kind, TensorKind::ExpertGate | TensorKind::ExpertUp | TensorKind::ExpertDown)
}

impl Collector<'_> {
    /// Adds a tensor's weight and bias, if the model has them.
    fn add(&mut self, key: TensorKey) {
        for suffix in ["weight", "bias"] {
            let source = self.spec.naming.tensor(key, suffix).and_then(|name| self.tensors.position(&name));
            let (Some(index), Some(name)) = (source, self.naming.tensor(key, suffix)) else {
                continue;
            };
            self.used.insert(index);
            if key.kind == TensorKind::Head && self.spec.head.tied {
                continue;
            }
            let info = &self.tensors.infos()[index];
            let rearrangement = self.rearrangement(key, index);
            let shape = if rearrangement == Rearrangement::Transpose {
                info.shape.iter().rev().copied().collect()
            } else {
                info.shape.clone()
            };
            self.targets.push(Target { name, shape, sources: vec![index], rearrangement });
        }
    }

    /// Adds a layer's experts, which are separate tensors in the source and stacked in the file.
    fn add_experts(&mut self, layer: usize, n_experts: usize) {
        let stacks = [
            (TensorKind::ExpertGate, TensorKind::ExpertsGate),
            (TensorKind::ExpertUp, TensorKind::ExpertsUp),
            (TensorKind::ExpertDown, TensorKind::ExpertsDown),
        ];
        for (one, stacked) in stacks {
            let names =
                (0..n_experts).map(|expert| self.spec.naming.tensor(one.in_expert(layer, expert), "weight"));
            let sources: Option<Vec<usize>> = names.map(|name| self.tensors.position(&name?)).collect();
            let name = self.naming.tensor(stacked.in_layer(layer), "weight");
            let (Some(sources), Some(name)) = (sources, name) else { continue };
            let first = &self.tensors.infos()[sources[0]];
            let shape = [&[n_experts], first.shape.as_slice()].concat();
            self.used.extend(&sources);
            self.targets.push(Target { name, shape, sources, rearrangement: Rearrangement::None });
        }
    }

    /// The rearrangement of the values of the tensor at `index`.
    fn rearrangement(&self, key: TensorKey, index: usize) -> Rearrangement {
        let is_matrix = self.tensors.infos()[index].shape.len() == 2;
        let is_linear = matches!(
            key.kind,
            TensorKind::Qkv | TensorKind::AttentionOut | TensorKind::Up | TensorKind::Down
        );
        let offset = self.spec.norm.weight_offset;
        if key.kind.is_norm() && offset != 0.0 {
            Rearrangement::Add(offset)
        } else if is_linear && is_matrix && self.has_inputs_first(index) {
            Rearrangement::Transpose
        } else if matches!(key.kind, TensorKind::Q | TensorKind::K) {
            self.head_rearrangement(key.layer)
        } else {
            Rearrangement::None
        }
    }

    /// Whether the inputs of a linear map come first. Those of quantized matrices never do.
    fn has_inputs_first(&self, index: usize) -> bool {
        self.spec.naming.linear == LinearLayout::InOut && self.tensors.quantized(index).is_none()
    }

    /// The rearrangement of q and k: some architectures rotate neighbours in GGUF files but halves in Hugging Face models.
    /// The converter then permutes every layer, even those that do not rotate.
    fn head_rearrangement(&self, layer: usize) -> Rearrangement {
        let has_halves = self
            .spec
            .attentions()
            .filter_map(|attention| attention.rope.as_ref())
            .all(|rope| rope.pairs == RopePairs::Halves);
        match self.spec.layers[layer].mixer.attention() {
            Some(attention) if has_halves && self.pairs == RopePairs::Adjacent => {
                Rearrangement::PairNeighbours { head_dim: attention.head_dim }
            }
            _ => Rearrangement::None,
        }
    }

    /// The targets, if they account for every tensor of the model.
    fn finish(self) -> Result<Vec<Target>, LoadError> {
        let unused = self.tensors.infos().iter().enumerate().find(|(index, info)| {
            !self.used.contains(index)
                && !self.spec.is_ignorable(&info.name)
                && !self.tensors.is_empty_bias(*index)
        });
        match unused {
            None => Ok(self.targets),
            Some((_, info)) => Err(LoadError::Unsupported {
                key: "tensor".into(),
                value: info.name.clone(),
                reason: format!("GGUF files of architecture {} have no such tensor", self.spec.architecture),
            }),
        }
    }
}
