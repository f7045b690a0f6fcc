//! Mixtral: Mistral with a mixture of experts in every layer.

use serde_json::json;

use super::hf;
use crate::LoadError;
use crate::config::{Config, MAX_REPEATS};
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, ExpertsSpec, FfnKind};

const NAMES: Names = &[
    (TensorKind::Router, "layers.{l}.block_sparse_moe.gate"),
    (TensorKind::ExpertGate, "layers.{l}.block_sparse_moe.experts.{e}.w1"),
    (TensorKind::ExpertUp, "layers.{l}.block_sparse_moe.experts.{e}.w3"),
    (TensorKind::ExpertDown, "layers.{l}.block_sparse_moe.experts.{e}.w2"),
];

/// `modeling_mixtral.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config =
        &config.or_defaults(json!({ "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 1e6 }));
    let mut spec = hf::decoder(config)?;
    hf::set_windows(&mut spec, config, |_| true)?;
    let experts = ExpertsSpec {
        n_experts: config.require_count("num_local_experts", MAX_REPEATS)?,
        top_k: config.require_count("num_experts_per_tok", MAX_REPEATS)?,
        renormalize: true,
        shared: None,
    };
    spec.ffns_mut().for_each(|ffn| ffn.kind = FfnKind::Experts(experts));
    spec.naming = spec.naming.with(NAMES);
    Ok(spec)
}
