//! A model's tensors and metadata, as llama.cpp's converter would write them.

use sm_model::metadata::{Metadata, Value};
use sm_model::{Mixture, MixtureModel, TensorSpec};

use super::shape::Shape;
use super::vocabulary;

/// The content of a tensor.
pub(super) enum Content {
    /// These F32 values.
    Values(Vec<f32>),
    /// Gaussian noise.
    Random {
        /// The standard deviation.
        deviation: f32,
    },
}

/// A tensor to write.
pub(super) struct SynthTensor {
    pub(super) spec: TensorSpec,
    pub(super) content: Content,
}

/// All tensors, in file order.
pub(super) fn tensors(shape: &Shape, mixture: Mixture) -> Vec<SynthTensor> {
    let list = TensorList { shape, mixture };
    let hidden = shape.hidden_size;
    let q = shape.hidden_size;
    let kv = shape.n_kv_heads * shape.head_dim();
    let mut tensors = vec![list.matrix("token_embd.weight", shape.vocab_size, hidden)];
    if shape.has_llama3_scaling {
        tensors.push(list.vector("rope_freqs.weight", llama3_divisors(shape)));
    }
    for layer in 0..shape.n_layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        tensors.push(list.vector(&name("attn_norm.weight"), vec![1.0; hidden]));
        for (part, rows) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
            tensors.push(list.matrix(&name(&format!("{part}.weight")), rows, hidden));
            if shape.architecture == "qwen2" {
                tensors.push(list.vector(&name(&format!("{part}.bias")), vec![0.125; rows]));
            }
        }
        tensors.push(list.matrix(&name("attn_output.weight"), hidden, q));
        tensors.push(list.vector(&name("ffn_norm.weight"), vec![1.0; hidden]));
        tensors.push(list.matrix(&name("ffn_gate.weight"), shape.ffn_size, hidden));
        tensors.push(list.matrix(&name("ffn_up.weight"), shape.ffn_size, hidden));
        tensors.push(list.matrix(&name("ffn_down.weight"), hidden, shape.ffn_size));
    }
    tensors.push(list.vector("output_norm.weight", vec![1.0; hidden]));
    if !shape.is_tied {
        tensors.push(list.matrix("output.weight", shape.vocab_size, hidden));
    }
    tensors
}

struct TensorList<'a> {
    shape: &'a Shape,
    mixture: Mixture,
}

impl TensorList<'_> {
    fn spec(&self, name: &str, shape: Vec<usize>) -> TensorSpec {
        let model = MixtureModel::new(self.shape.n_layers).is_tied(self.shape.is_tied);
        let dtype = self.mixture.dtype_of(name, &shape, &model);
        TensorSpec { name: name.to_owned(), shape, dtype }
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> SynthTensor {
        let deviation = 1.0 / (cols as f32).sqrt();
        SynthTensor { spec: self.spec(name, vec![rows, cols]), content: Content::Random { deviation } }
    }

    fn vector(&self, name: &str, values: Vec<f32>) -> SynthTensor {
        SynthTensor { spec: self.spec(name, vec![values.len()]), content: Content::Values(values) }
    }
}

/// Llama 3.2's divisors of the rotary frequencies: 32 for long wavelengths, 1 for short ones.
fn llama3_divisors(shape: &Shape) -> Vec<f32> {
    const FACTOR: f32 = 32.0;
    const ORIGINAL_CONTEXT: f32 = 8192.0;
    const SLOW_TURNS: f32 = 1.0;
    const FAST_TURNS: f32 = 4.0;
    let divisor = |pair: usize| {
        let exponent = (2 * pair) as f32 / shape.head_dim() as f32;
        let wave_len = std::f32::consts::TAU * shape.rope_base.powf(exponent);
        let turns = ORIGINAL_CONTEXT / wave_len;
        let smooth = ((turns - SLOW_TURNS) / (FAST_TURNS - SLOW_TURNS)).clamp(0.0, 1.0);
        1.0 / ((1.0 - smooth) / FACTOR + smooth)
    };
    (0..shape.head_dim() / 2).map(divisor).collect()
}

/// The metadata: dimensions and vocabulary.
pub(super) fn metadata(shape: &Shape, mixture: Mixture) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.insert("general.architecture", Value::String(shape.architecture.into()));
    metadata.insert("general.name", Value::String(format!("random weights, {}", shape.name)));
    metadata.insert("general.file_type", Value::U32(mixture.file_type()));
    metadata.insert("general.quantization_version", Value::U32(2));
    let extents = [
        ("context_length", shape.context_len),
        ("embedding_length", shape.hidden_size),
        ("block_count", shape.n_layers),
        ("feed_forward_length", shape.ffn_size),
        ("attention.head_count", shape.n_heads),
        ("attention.head_count_kv", shape.n_kv_heads),
        ("rope.dimension_count", shape.head_dim()),
        ("vocab_size", shape.vocab_size),
    ];
    for (key, extent) in extents {
        metadata.insert(format!("{}.{key}", shape.architecture), Value::U32(extent as u32));
    }
    let floats = [("attention.layer_norm_rms_epsilon", 1e-5), ("rope.freq_base", shape.rope_base)];
    for (key, value) in floats {
        metadata.insert(format!("{}.{key}", shape.architecture), Value::F32(value));
    }
    vocabulary::describe(shape.vocab_size, &mut metadata);
    metadata
}
