//! The tensors of a GGUF file, and what becomes of those of a Hugging Face model on their way there.

use std::borrow::Cow;
use std::collections::HashSet;

use sm_kernels::plan::RopePairs;
use sm_tensor::DType;

use crate::LoadError;
use crate::export::values::{self, Layout};
use crate::load::tensors::Tensors;
use crate::names::{GGUF, LinearLayout, Naming, Place, Role};
use crate::spec::{DecoderSpec, FfnKind};

/// A tensor of the file to be written.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Its name in the file.
    pub(super) name: String,
    /// Its extents, slowest first.
    pub(super) shape: Vec<usize>,
    /// Indices of the tensors that are joined to it.
    sources: Vec<usize>,
    layout: Layout,
}

impl Target {
    /// A tensor that stays as it is.
    pub(super) fn same(tensors: &Tensors, index: usize) -> Self {
        let (info, _) = tensors.at(index);
        Self {
            name: info.name.clone(),
            shape: info.shape.clone(),
            sources: vec![index],
            layout: Layout::AsIs,
        }
    }

    /// How the values of [`Target::bytes`] are stored.
    pub(super) fn dtype(&self, tensors: &Tensors) -> DType {
        let (info, _) = tensors.at(self.sources[0]);
        if matches!(self.layout, Layout::AsIs | Layout::AdjacentPairs { .. }) {
            info.dtype
        } else {
            DType::F32
        }
    }

    /// Its values, in the order of the file to be written.
    ///
    /// # Errors
    /// If the values cannot be reordered as they are stored.
    pub(super) fn bytes<'t>(&self, tensors: &'t Tensors) -> Result<Cow<'t, [u8]>, LoadError> {
        match self.sources.as_slice() {
            [only] => {
                let (info, bytes) = tensors.at(*only);
                values::arranged(info, bytes, self.layout)
            }
            several => {
                let mut joined = Vec::new();
                for &index in several {
                    let (info, bytes) = tensors.at(index);
                    joined.extend_from_slice(&values::arranged(info, bytes, self.layout)?);
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
    /// The names in the file to be written.
    naming: Naming,
    /// How heads are rotated there.
    pairs: RopePairs,
    used: HashSet<usize>,
    targets: Vec<Target>,
}

/// The tensors of a GGUF file with the names of `naming` and rotations of `pairs`.
///
/// # Errors
/// If a tensor of the model has no place in a GGUF file.
pub(super) fn targets(
    spec: &DecoderSpec,
    tensors: &Tensors,
    naming: Naming,
    pairs: RopePairs,
) -> Result<Vec<Target>, LoadError> {
    let mut collector = Collector { spec, tensors, naming, pairs, used: HashSet::new(), targets: Vec::new() };
    for role in [Role::Embedding, Role::Positions, Role::OutputNorm, Role::Head] {
        collector.add(role, Place::default());
    }
    for (layer, of_layer) in spec.layers.iter().enumerate() {
        let roles = GGUF.iter().map(|(role, _)| *role).chain([Role::GateUp]);
        for role in roles.filter(|role| !is_global(*role) && !is_single_expert(*role)) {
            collector.add(role, Place::layer(layer));
        }
        if let FfnKind::Experts { n_experts, .. } = of_layer.ffn.kind {
            collector.add_experts(layer, n_experts);
        }
    }
    collector.finish()
}

fn is_global(role: Role) -> bool {
    matches!(role, Role::Embedding | Role::Positions | Role::OutputNorm | Role::Head)
}

fn is_single_expert(role: Role) -> bool {
    matches!(role, Role::ExpertGate | Role::ExpertUp | Role::ExpertDown)
}

impl Collector<'_> {
    /// Adds the weight and the bias of a role, where the model has them.
    fn add(&mut self, role: Role, place: Place) {
        for suffix in ["weight", "bias"] {
            let source =
                self.spec.naming.tensor(role, place, suffix).and_then(|name| self.tensors.position(&name));
            let (Some(index), Some(name)) = (source, self.naming.tensor(role, place, suffix)) else {
                continue;
            };
            self.used.insert(index);
            if role == Role::Head && self.spec.head.tied {
                continue;
            }
            let (info, _) = self.tensors.at(index);
            let layout = self.layout(role, info.shape.len());
            let shape = if layout == Layout::Transposed {
                info.shape.iter().rev().copied().collect()
            } else {
                info.shape.clone()
            };
            self.targets.push(Target { name, shape, sources: vec![index], layout });
        }
    }

    /// Adds the experts of a layer, which lie in a tensor each and are stacked in the file.
    fn add_experts(&mut self, layer: usize, n_experts: usize) {
        let stacks = [
            (Role::ExpertGate, Role::ExpertsGate),
            (Role::ExpertUp, Role::ExpertsUp),
            (Role::ExpertDown, Role::ExpertsDown),
        ];
        for (one, stacked) in stacks {
            let names =
                (0..n_experts).map(|expert| self.spec.naming.tensor(one, Place { layer, expert }, "weight"));
            let sources: Option<Vec<usize>> = names.map(|name| self.tensors.position(&name?)).collect();
            let name = self.naming.tensor(stacked, Place::layer(layer), "weight");
            let (Some(sources), Some(name)) = (sources, name) else { continue };
            let (first, _) = self.tensors.at(sources[0]);
            let shape = [&[n_experts], first.shape.as_slice()].concat();
            self.used.extend(&sources);
            self.targets.push(Target { name, shape, sources, layout: Layout::AsIs });
        }
    }

    /// What becomes of the values of a tensor.
    fn layout(&self, role: Role, n_dims: usize) -> Layout {
        let is_norm = matches!(
            role,
            Role::OutputNorm
                | Role::QNorm
                | Role::KNorm
                | Role::AttentionNorm
                | Role::AttentionPostNorm
                | Role::FfnNorm
                | Role::FfnPostNorm
        );
        let is_linear = matches!(role, Role::Qkv | Role::AttentionOut | Role::Up | Role::Down);
        let rotates = self.pairs == RopePairs::Adjacent
            && self.spec.ropes.iter().all(|rope| rope.pairs == RopePairs::Halves);
        let offset = self.spec.norm.weight_offset;
        if is_norm && offset != 0.0 {
            Layout::Plus(offset)
        } else if is_linear && n_dims == 2 && self.spec.naming.linear == LinearLayout::InOut {
            Layout::Transposed
        } else if rotates && matches!(role, Role::Q | Role::K) {
            Layout::AdjacentPairs { head_dim: self.spec.attention.head_dim }
        } else {
            Layout::AsIs
        }
    }

    /// The targets, if nothing was left behind.
    fn finish(self) -> Result<Vec<Target>, LoadError> {
        let unused =
            self.tensors.infos().iter().enumerate().find(|(index, info)| {
                !self.used.contains(index) && !self.spec.naming.is_ignorable(&info.name)
            });
        match unused {
            None => Ok(self.targets),
            Some((_, info)) => Err(LoadError::Unsupported {
                key: "tensor".into(),
                value: info.name.clone(),
                reason: format!("a GGUF file of architecture {} has no place for it", self.spec.architecture),
            }),
        }
    }
}
