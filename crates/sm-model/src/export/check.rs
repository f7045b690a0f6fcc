//! Checks that an exported file describes the intended decoder.

use std::path::Path;

use sm_kernels::plan::RopeRange;

use crate::LoadError;
use crate::export::ExportError;
use crate::model::{LoadOptions, load_model};
use crate::spec::{AttentionSpec, DecoderSpec, LayerSpec, Mixer, RopeSpec};

/// Loads a file and compares its decoder with `spec`.
///
/// # Errors
/// If the file cannot be loaded, or describes a different decoder.
pub(super) fn same_decoder(spec: &DecoderSpec, path: &Path) -> Result<(), ExportError> {
    let different = match load_model(path, &LoadOptions::default()) {
        Ok(written) => difference(spec, &written.spec),
        Err(error) if asks_for_other_tensors(&error) => Some("list of tensors"),
        Err(error) => return Err(error.into()),
    };
    match different {
        None => Ok(()),
        Some(field) => Err(ExportError::NotExpressible { architecture: spec.architecture, field }),
    }
}

/// Whether the error means that the described decoder needs other tensors than the source's.
fn asks_for_other_tensors(error: &LoadError) -> bool {
    match error {
        LoadError::InFile { source, .. } => asks_for_other_tensors(source),
        error => matches!(error, LoadError::MissingTensor { .. } | LoadError::UnusedTensor { .. }),
    }
}

/// The first field that makes two decoders compute different results. Names, pair order and norm offsets only matter within
/// a file.
fn difference(a: &DecoderSpec, b: &DecoderSpec) -> Option<&'static str> {
    let fields = [
        ("vocabulary", a.vocab_size == b.vocab_size),
        ("hidden size", a.hidden_size == b.hidden_size),
        ("context length", a.max_context_len == b.max_context_len),
        ("embedding", a.embedding.learned_positions == b.embedding.learned_positions),
        ("embedding scale", same_embedding_scale(a.embedding.scale, b.embedding.scale)),
        ("kind of norm", a.norm.kind == b.norm.kind),
        ("norm epsilon", a.norm.eps == b.norm.eps),
        ("head", a.head.tied == b.head.tied && a.head.soft_cap == b.head.soft_cap),
        ("logit scale", near(a.head.scale, b.head.scale)),
        ("number of layers", a.layers.len() == b.layers.len()),
    ];
    let different = fields.into_iter().find(|(_, is_same)| !is_same).map(|(field, _)| field);
    let mut layers = a.layers.iter().zip(&b.layers);
    different.or_else(|| {
        layers.find_map(|(a_layer, b_layer)| layer_difference(a_layer, b_layer, a.max_context_len))
    })
}

fn layer_difference(a: &LayerSpec, b: &LayerSpec, context_len: usize) -> Option<&'static str> {
    if a.ffn != b.ffn {
        return Some("feed-forward network");
    }
    if a.norms != b.norms {
        return Some("placement of norms");
    }
    if !near(a.residual_scale, b.residual_scale) {
        return Some("residual scale");
    }
    match (&a.mixer, &b.mixer) {
        (Mixer::Attention(a), Mixer::Attention(b)) => attention_difference(a, b, context_len),
    }
}

fn attention_difference(a: &AttentionSpec, b: &AttentionSpec, context_len: usize) -> Option<&'static str> {
    let same_rotation = match (&a.rope, &b.rope) {
        (Some(a), Some(b)) => [1, context_len].iter().all(|&len| same_rotation(a, b, len)),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let is_otherwise_equal = AttentionSpec { scale: b.scale, rope: b.rope.clone(), ..a.clone() } == *b;
    let fields = [
        ("attention scale", near(a.scale, b.scale)),
        ("attention", is_otherwise_equal),
        ("rotation", same_rotation),
    ];
    fields.into_iter().find(|(_, is_same)| !is_same).map(|(field, _)| field)
}

fn same_rotation(a: &RopeSpec, b: &RopeSpec, context_len: usize) -> bool {
    let (a, b) = (a.table(context_len), b.table(context_len));
    let same_frequencies = |range| {
        let (a, b) = (a.frequencies(range), b.frequencies(range));
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(*a, *b))
    };
    near(a.scale, b.scale) && [RopeRange::Original, RopeRange::Extended].into_iter().all(same_frequencies)
}

/// Equal, or equal after rounding one to BF16: transformers rounds Gemma's embedding scale if it runs the model in that
/// type, and GGUF files do not store the scale.
fn same_embedding_scale(a: f32, b: f32) -> bool {
    (a - b).abs() <= a.abs() / 256.0
}

/// Equal up to the rounding of a few operations.
fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6 * a.abs()
}
