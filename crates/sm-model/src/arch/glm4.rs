//! GLM-4: fused gate and up, half of each head rotated in neighbouring pairs. GLM-4-0414 and GLM-Z1 (`glm4`) also have norms
//! after the blocks.

use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::Config;
use crate::names::{Names, TensorKind};
use crate::spec::{AttentionBias, DecoderSpec, NormPlacement};

const NAMES: Names = &[
    (TensorKind::AttentionPostNorm, "layers.{l}.post_self_attn_layernorm"),
    (TensorKind::FfnPostNorm, "layers.{l}.post_mlp_layernorm"),
];
/// GGUF files store fused gate and up under the name of up.
const GGUF_NAMES: Names = &[(TensorKind::GateUp, "blk.{l}.ffn_up")];

fn add_post_norms(spec: &mut DecoderSpec) {
    spec.layers.iter_mut().for_each(|layer| layer.norms = NormPlacement::BeforeAndAfter);
}

/// `modeling_glm.py` of transformers: GLM-4-9B.
pub(super) fn glm_from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let rotated = hf::rotated_fraction(config)?.unwrap_or(0.5);
    let mut spec = hf::partly_rotated_decoder(config, rotated)?;
    hf::rotate_neighbours(&mut spec);
    let qkv = config.bool("attention_bias")?.unwrap_or(false);
    spec.attentions_mut().for_each(|attention| attention.bias = AttentionBias { qkv, out: false });
    Ok(spec)
}

/// `modeling_glm4.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = glm_from_hf(config)?;
    add_post_norms(&mut spec);
    spec.naming = spec.naming.with(NAMES);
    Ok(spec)
}

/// GGUF architecture `chatglm`.
pub(super) fn glm_from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Adjacent)?;
    spec.naming = spec.naming.with(GGUF_NAMES);
    Ok(spec)
}

/// GGUF architecture `glm4`.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    config
        .refuse("nextn_predict_layers", "models with layers that predict further tokens are not supported")?;
    config.refuse("rope.dimension_sections", "multimodal rotation is not supported")?;
    let mut spec = glm_from_gguf(config)?;
    add_post_norms(&mut spec);
    Ok(spec)
}
