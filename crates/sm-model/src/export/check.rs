//! Whether a written file describes the decoder that was to be written.

use std::path::Path;

use crate::LoadError;
use crate::export::ExportError;
use crate::model::{LoadOptions, load_model};
use crate::spec::{DecoderSpec, RopeSpec};

/// Reads a file back and compares its decoder.
///
/// # Errors
/// If the file cannot be read, or describes another decoder than `spec`.
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

/// Whether the decoder that a file describes needs other tensors than the file has, which are those of the source.
fn asks_for_other_tensors(error: &LoadError) -> bool {
    match error {
        LoadError::InFile { source, .. } => asks_for_other_tensors(source),
        error => matches!(error, LoadError::MissingTensor { .. } | LoadError::UnusedTensor { .. }),
    }
}

/// The first field in which two decoders compute something else; names, the order of pairs and offsets of norms are
/// matters of the file alone.
fn difference(a: &DecoderSpec, b: &DecoderSpec) -> Option<&'static str> {
    let fields = [
        ("vocabulary", a.vocab_size == b.vocab_size),
        ("hidden size", a.hidden_size == b.hidden_size),
        ("context length", a.max_context_len == b.max_context_len),
        ("embedding", a.embedding.learned_positions == b.embedding.learned_positions),
        ("scale of the embedding", same_scale(a.embedding.scale, b.embedding.scale)),
        ("scale of attention scores", near(a.attention.scale, b.attention.scale)),
        ("attention", a.attention == crate::spec::AttentionSpec { scale: a.attention.scale, ..b.attention }),
        ("kind of norm", (a.norm.kind, a.norm.placement) == (b.norm.kind, b.norm.placement)),
        ("norm epsilon", a.norm.eps == b.norm.eps),
        ("layers", a.layers == b.layers),
        ("biases", a.biases == b.biases),
        ("head", a.head == b.head),
        ("rotations", a.ropes.len() == b.ropes.len()),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, same)| !same) {
        return Some(field);
    }
    let context_len = a.max_context_len;
    let same =
        a.ropes.iter().zip(&b.ropes).all(|(a, b)| same_rotation(a, b, context_len) && same_rotation(a, b, 1));
    if same { None } else { Some("rotation") }
}

fn same_rotation(a: &RopeSpec, b: &RopeSpec, context_len: usize) -> bool {
    let (a, b) = (a.table(context_len), b.table(context_len));
    let same_frequencies = a.inv_freq.iter().zip(&b.inv_freq).all(|(a, b)| near(*a, *b));
    a.inv_freq.len() == b.inv_freq.len() && near(a.scale, b.scale) && same_frequencies
}

/// Equal, or one is the other rounded to bfloat16: transformers rounds the scale of Gemma's embedding where it runs the
/// model in that type, and GGUF files do not carry it.
fn same_scale(a: f32, b: f32) -> bool {
    (a - b).abs() <= a.abs() / 256.0
}

/// Equal but for the rounding of a few operations.
fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6 * a.abs()
}
