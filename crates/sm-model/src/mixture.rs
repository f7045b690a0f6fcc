//! llama.cpp's quantization mixtures: the data type of each tensor in a quantized GGUF file.
//!
//! Some matrices lose more by quantization than others, so a mixture gives them more bits: the output matrix, then the value
//! projections, which are small if heads share them, and the down projections, those of the first and last layers before the
//! rest. A name is that of `llama-quantize`; its letter says how many bits such matrices get: `q3_k_s` (small) none, `q3_k_m`
//! (medium) some, `q3_k_l` (large) most. The rules are those of `llama_tensor_get_type` in llama.cpp's `llama-quant.cpp`;
//! `xtask/golden/mixtures.py` compares them with the files that it writes.

use sm_tensor::DType;

use crate::weights::fitting_dtype;

/// Assigns data types to the tensors of a model.
///
/// ```
/// use sm_model::{Mixture, MixtureModel};
/// use sm_tensor::DType;
///
/// let mixture = Mixture::named("Q4_K_M")?;
/// let model = MixtureModel::new(32);
/// assert_eq!(mixture.dtype_of("blk.3.attn_q.weight", &[4096, 4096], &model), DType::Q4K);
/// assert_eq!(mixture.dtype_of("output.weight", &[32000, 4096], &model), DType::Q6K);
/// # Ok::<(), sm_model::UnknownMixture>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixture {
    base: DType,
    rule: Rule,
    file_type: u32,
}

/// Which matrices get other types than the base type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// None.
    Uniform,
    /// The output matrix, and what [`for_base`] says.
    Base,
    /// In addition some value and down projections.
    Small,
    /// More of them.
    Medium,
    /// All of them, and the output projections of the attention.
    Large,
    /// All but the experts of layers, in Q8_0.
    ExpertsOnly,
}

/// The properties of a model that a [`Mixture`] depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MixtureModel {
    /// Transformer layers.
    pub n_layers: usize,
    /// Whether the embedding doubles as the output matrix.
    pub is_tied: bool,
    /// Query heads for each key and value head.
    pub heads_per_kv_head: usize,
    /// Experts of a layer; 0 for dense models.
    pub n_experts: usize,
    /// Whether there is an importance matrix.
    pub has_importance: bool,
}

/// A name that is no mixture of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown quantization type {found:?}; supported: {}", Mixture::names().join(", "))]
pub struct UnknownMixture {
    /// The name.
    pub found: String,
}

/// A mixture by its name, with llama.cpp's number for it (`LLAMA_FTYPE_MOSTLY_*`).
const NAMED: [(&str, Mixture); 27] = [
    ("f32", mixture(DType::F32, Rule::Uniform, 0)),
    ("f16", mixture(DType::F16, Rule::Uniform, 1)),
    ("bf16", mixture(DType::Bf16, Rule::Uniform, 32)),
    ("q8_0", mixture(DType::Q8_0, Rule::Base, 7)),
    ("q4_0", mixture(DType::Q4_0, Rule::Base, 2)),
    ("q4_1", mixture(DType::Q4_1, Rule::Base, 3)),
    ("q5_0", mixture(DType::Q5_0, Rule::Base, 8)),
    ("q5_1", mixture(DType::Q5_1, Rule::Base, 9)),
    ("q2_k", mixture(DType::Q2K, Rule::Medium, 10)),
    ("q2_k_s", mixture(DType::Q2K, Rule::Small, 21)),
    ("q3_k", mixture(DType::Q3K, Rule::Medium, 12)),
    ("q3_k_s", mixture(DType::Q3K, Rule::Base, 11)),
    ("q3_k_m", mixture(DType::Q3K, Rule::Medium, 12)),
    ("q3_k_l", mixture(DType::Q3K, Rule::Large, 13)),
    ("q4_k", mixture(DType::Q4K, Rule::Medium, 15)),
    ("q4_k_s", mixture(DType::Q4K, Rule::Small, 14)),
    ("q4_k_m", mixture(DType::Q4K, Rule::Medium, 15)),
    ("q5_k", mixture(DType::Q5K, Rule::Medium, 17)),
    ("q5_k_s", mixture(DType::Q5K, Rule::Base, 16)),
    ("q5_k_m", mixture(DType::Q5K, Rule::Medium, 17)),
    ("q6_k", mixture(DType::Q6K, Rule::Base, 18)),
    ("iq4_nl", mixture(DType::Iq4Nl, Rule::Base, 25)),
    ("iq4_xs", mixture(DType::Iq4Xs, Rule::Base, 30)),
    ("mxfp4_moe", mixture(DType::Mxfp4, Rule::ExpertsOnly, 38)),
    ("tq1_0", mixture(DType::Tq1_0, Rule::Base, 36)),
    ("tq2_0", mixture(DType::Tq2_0, Rule::Base, 37)),
    ("q1_0", mixture(DType::Q1_0, Rule::Base, 40)),
];

const fn mixture(base: DType, rule: Rule, file_type: u32) -> Mixture {
    Mixture { base, rule, file_type }
}

/// The roles of tensors that mixtures distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The output matrix, or the embedding that doubles as one.
    Output,
    Embedding,
    /// The value projection, alone or with those of queries and keys.
    Value,
    Key,
    AttentionOut,
    Down,
    Other,
}

impl MixtureModel {
    /// A dense model of `n_layers` layers with an output matrix of its own, whose heads share nothing.
    pub const fn new(n_layers: usize) -> Self {
        Self { n_layers, is_tied: false, heads_per_kv_head: 1, n_experts: 0, has_importance: false }
    }

    sm_tensor::setters! {
        is_tied: bool,
        heads_per_kv_head: usize,
        n_experts: usize,
        has_importance: bool,
    }

    /// Whether a layer gets more bits in a medium mixture (`use_more_bits` of llama.cpp).
    fn is_sensitive(&self, layer: usize) -> bool {
        let eighth = self.n_layers / 8;
        layer < eighth || layer >= 7 * self.n_layers / 8 || (layer - eighth) % 3 == 2
    }

    fn part(&self, tensor: &str) -> Part {
        let part = |name: &str| tensor.contains(name);
        match tensor {
            "output.weight" => Part::Output,
            "token_embd.weight" if self.is_tied => Part::Output,
            "token_embd.weight" => Part::Embedding,
            _ if part("attn_v.weight") || part("attn_qkv.weight") => Part::Value,
            _ if part("attn_k.weight") => Part::Key,
            _ if part("attn_output.weight") => Part::AttentionOut,
            _ if part("ffn_down") => Part::Down,
            _ => Part::Other,
        }
    }
}

impl Mixture {
    /// Every matrix in one data type, as `llama-quantize --pure` does. The [file type](Mixture::file_type) is that of the mixture
    /// with the fewest exceptions.
    pub fn uniform(dtype: DType) -> Self {
        let is_plain = |named: &Self| !matches!(named.rule, Rule::Medium | Rule::Large);
        let mut plain =
            NAMED.iter().map(|(_, named)| named).filter(|named| named.base == dtype && is_plain(named));
        mixture(dtype, Rule::Uniform, plain.next().map_or(0, |plain| plain.file_type))
    }

    /// The mixture of `llama-quantize` for a name, in any case: `q4_0`, `Q4_K_M`, ….
    ///
    /// # Errors
    /// If the name is not known.
    pub fn named(name: &str) -> Result<Self, UnknownMixture> {
        let found = NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, mixture)| *mixture).ok_or_else(|| UnknownMixture { found: name.to_owned() })
    }

    /// All names.
    pub fn names() -> Vec<&'static str> {
        NAMED.iter().map(|(name, _)| *name).collect()
    }

    /// The data type of most matrices.
    pub const fn base(&self) -> DType {
        self.base
    }

    /// Every matrix in the type of most.
    #[must_use]
    pub fn pure(self) -> Self {
        Self::uniform(self.base)
    }

    /// The `general.file_type` of this mixture (`LLAMA_FTYPE_*` of llama.cpp).
    pub const fn file_type(&self) -> u32 {
        self.file_type
    }

    /// The data type of a tensor, by its GGUF name; `shape` is slowest dimension first.
    ///
    /// Vectors, norms, routers and learned positions stay F32. If rows are not whole blocks, uses a related format with
    /// shorter blocks.
    pub fn dtype_of(&self, tensor: &str, shape: &[usize], model: &MixtureModel) -> DType {
        let Some(&cols) = shape.last() else { return DType::F32 };
        if is_matrix(tensor, shape) { fitting_dtype(self.wanted(tensor, model), cols) } else { DType::F32 }
    }

    /// Whether a matrix gets another type because its rows are not whole blocks.
    pub(crate) fn falls_back(&self, tensor: &str, shape: &[usize], model: &MixtureModel) -> bool {
        is_matrix(tensor, shape) && self.dtype_of(tensor, shape, model) != self.wanted(tensor, model)
    }

    /// The data type of a matrix whose rows are whole blocks of any type.
    fn wanted(&self, tensor: &str, model: &MixtureModel) -> DType {
        if self.rule == Rule::Uniform {
            return self.base;
        }
        if self.rule == Rule::ExpertsOnly {
            return if tensor.contains("_exps.") { self.base } else { DType::Q8_0 };
        }
        let layer = layer_of(tensor).unwrap_or(0);
        match model.part(tensor) {
            Part::Embedding if matches!(self.base, DType::Tq1_0 | DType::Tq2_0) => DType::Q4K,
            Part::Output if self.base == DType::Q8_0 => DType::Q8_0,
            Part::Output => DType::Q6K,
            Part::Value => self.value(layer, model),
            Part::Key if model.n_experts == 8 => DType::Q8_0,
            Part::AttentionOut => self.attention_out(model),
            Part::Down => self.down(layer, model),
            Part::Key | Part::Embedding | Part::Other => self.base,
        }
    }

    /// The value projections. A model of eight experts has much larger matrices elsewhere.
    fn value(&self, layer: usize, model: &MixtureModel) -> DType {
        let shares_heads = model.heads_per_kv_head >= 4;
        let dtype = match (self.base, self.rule) {
            _ if model.n_experts == 8 => return DType::Q8_0,
            (DType::Q2K, _) if shares_heads => DType::Q4K,
            (DType::Q2K, Rule::Medium) => DType::Q3K,
            (DType::Q3K, Rule::Medium) if layer >= 2 => DType::Q4K,
            (DType::Q3K, Rule::Medium | Rule::Large) => DType::Q5K,
            (DType::Q4K, Rule::Small) if layer < 4 => DType::Q5K,
            (DType::Q4K | DType::Q5K, Rule::Medium) if model.is_sensitive(layer) => DType::Q6K,
            (DType::Iq4Nl | DType::Iq4Xs, _) if shares_heads => DType::Q5K,
            (base, _) => base,
        };
        // The 70B models of Llama and Qwen: they have the largest matrices for so few value heads.
        let is_70b = model.n_layers == 80 && shares_heads;
        if is_70b && matches!(dtype, DType::Q3K | DType::Q4K) { DType::Q5K } else { dtype }
    }

    fn attention_out(&self, model: &MixtureModel) -> DType {
        match (self.base, self.rule) {
            (DType::Q2K, Rule::Medium)
            | (DType::Q3K, Rule::Base | Rule::Medium)
            | (DType::Q4K | DType::Iq4Nl | DType::Iq4Xs, _)
                if model.n_experts == 8 =>
            {
                DType::Q5K
            }
            (base, _) if model.n_experts == 8 => base,
            (DType::Q2K, Rule::Medium) => DType::Q3K,
            (DType::Q3K, Rule::Medium) => DType::Q4K,
            (DType::Q3K, Rule::Large) => DType::Q5K,
            (base, _) => base,
        }
    }

    fn down(&self, layer: usize, model: &MixtureModel) -> DType {
        let is_first_eighth = layer < model.n_layers / 8;
        match (self.base, self.rule) {
            (DType::Q2K, Rule::Medium) => DType::Q3K,
            (DType::Q2K, Rule::Small) if is_first_eighth => DType::Q4K,
            (DType::Q3K, Rule::Medium) if layer < model.n_layers / 16 => DType::Q5K,
            (DType::Q3K, Rule::Medium) => DType::Q4K,
            (DType::Q3K, Rule::Large) => DType::Q5K,
            (DType::Q4K, Rule::Small) if is_first_eighth => DType::Q5K,
            (DType::Q4K | DType::Q5K, Rule::Medium) if model.is_sensitive(layer) => DType::Q6K,
            (DType::Iq4Nl | DType::Iq4Xs, _) if is_first_eighth && !model.has_importance => DType::Q5K,
            (DType::Q4_0, _) if is_first_eighth && model.has_importance => DType::Q4_1,
            (DType::Q5_0, _) if is_first_eighth && model.has_importance => DType::Q5_1,
            (base, _) => base,
        }
    }
}

/// Whether to quantize a tensor. Routers, learned positions and norms are small and sensitive.
pub(crate) fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let is_small = ["ffn_gate_inp", "position_embd.", "_norm."].iter().any(|part| name.contains(part));
    shape.len() >= 2 && !is_small && name.ends_with(".weight")
}

/// The layer of a tensor.
fn layer_of(tensor: &str) -> Option<usize> {
    let (layer, _) = tensor.strip_prefix("blk.")?.split_once('.')?;
    layer.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: MixtureModel = MixtureModel::new(22);

    #[test]
    fn every_data_type_has_a_uniform_mixture() {
        for dtype in DType::all().filter(|dtype| dtype.is_writable()) {
            let uniform = Mixture::uniform(dtype);
            assert_eq!(uniform.base(), dtype);
            assert_eq!(uniform.dtype_of("output.weight", &[8, 2048], &MODEL), dtype);
            assert_eq!(uniform.dtype_of("output_norm.weight", &[2048], &MODEL), DType::F32);
        }
        assert_eq!(Mixture::uniform(DType::Q4K).file_type(), 14);
        let medium = Mixture::named("q4_k_m").unwrap();
        assert_eq!((medium.file_type(), medium.pure()), (15, Mixture::uniform(DType::Q4K)));
    }

    #[test]
    fn names_are_those_of_llama_quantize_in_any_case() {
        assert_eq!(Mixture::named("Q4_K"), Mixture::named("q4_k_m"));
        let message = Mixture::named("q4_k_xl").unwrap_err().to_string();
        assert!(message.contains("\"q4_k_xl\"") && message.contains("q3_k_l"), "{message}");
    }

    #[test]
    fn data_types_depend_on_the_tensor_and_its_row_length() {
        let tied = MODEL.is_tied(true);
        let cases = [
            ("q4_0", "output.weight", 2048, MODEL, DType::Q6K),
            ("q4_0", "output.weight", 576, MODEL, DType::Q8_0),
            ("q8_0", "output.weight", 2048, MODEL, DType::Q8_0),
            ("f16", "output.weight", 2048, MODEL, DType::F16),
            ("q4_0", "token_embd.weight", 2048, MODEL, DType::Q4_0),
            ("q4_0", "token_embd.weight", 2048, tied, DType::Q6K),
            ("q4_k_m", "blk.2.attn_q.weight", 576, MODEL, DType::Q5_0),
            ("q4_0", "blk.2.attn_q.weight", 33, MODEL, DType::F16),
            ("q4_0", "blk.2.ffn_gate_inp.weight", 2048, MODEL, DType::F32),
            ("q4_0", "blk.2.ffn_gate_inp_shexp.weight", 2048, MODEL, DType::F32),
            ("q4_0", "blk.2.ffn_up_shexp.weight", 2048, MODEL, DType::Q4_0),
            ("q4_0", "blk.2.attn_q_norm.weight", 64, MODEL, DType::F32),
            ("q4_0", "blk.2.ffn_gate_exps.bias", 2048, MODEL, DType::F32),
        ];
        for (mixture, tensor, cols, model, expected) in cases {
            let dtype = Mixture::named(mixture).unwrap().dtype_of(tensor, &[8, cols], &model);
            assert_eq!(dtype, expected, "{mixture} {tensor} {cols}");
        }
    }
}
