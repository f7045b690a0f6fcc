//! GGUF files in every data type compute what their dequantized values do.

use std::borrow::Cow;

use sm_kernels::testing::{encoded, random_values};
use sm_model::metadata::{Metadata, Value};
use sm_model::{GgufWriter, LoadOptions, Model, ModelBytes, TensorSpec, parse_model};
use sm_tensor::{DType, dequantize};

use crate::{executed, interpreter};

const HIDDEN: usize = 256;
const FFN: usize = 512;
const VOCAB: usize = 24;
const TOKENS: [u32; 6] = [3, 14, 15, 9, 2, 6];

/// The tensors of a Llama with one layer: rows and columns, no rows for a vector.
const TENSORS: [(&str, usize, usize); 12] = [
    ("token_embd.weight", VOCAB, HIDDEN),
    ("blk.0.attn_norm.weight", 0, HIDDEN),
    ("blk.0.attn_q.weight", HIDDEN, HIDDEN),
    ("blk.0.attn_k.weight", HIDDEN / 2, HIDDEN),
    ("blk.0.attn_v.weight", HIDDEN / 2, HIDDEN),
    ("blk.0.attn_output.weight", HIDDEN, HIDDEN),
    ("blk.0.ffn_norm.weight", 0, HIDDEN),
    ("blk.0.ffn_gate.weight", FFN, HIDDEN),
    ("blk.0.ffn_up.weight", FFN, HIDDEN),
    ("blk.0.ffn_down.weight", HIDDEN, FFN),
    ("output_norm.weight", 0, HIDDEN),
    ("output.weight", VOCAB, HIDDEN),
];

fn metadata() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.insert("general.architecture", Value::String("llama".into()));
    for (key, value) in [
        ("vocab_size", VOCAB),
        ("context_length", 64),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", FFN),
        ("block_count", 1),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("rope.dimension_count", 64),
    ] {
        metadata.insert(format!("llama.{key}"), Value::U32(value as u32));
    }
    metadata.insert("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    metadata
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The bytes of a tensor in `dtype`, if it is a matrix.
fn tensor(name: &str, rows: usize, cols: usize, dtype: DType) -> (TensorSpec, Vec<u8>) {
    let mut values = random_values(name, rows.max(1) * cols);
    if rows == 0 {
        values.iter_mut().for_each(|value| *value = 1.0 + 0.5 * *value);
        let spec = TensorSpec { name: name.to_owned(), shape: vec![cols], dtype: DType::F32 };
        return (spec, f32_bytes(&values));
    }
    let scale = (3.0 / cols as f32).sqrt();
    values.iter_mut().for_each(|value| *value *= scale);
    let spec = TensorSpec { name: name.to_owned(), shape: vec![rows, cols], dtype };
    (spec, encoded(dtype, &values))
}

fn model(tensors: &[(TensorSpec, Vec<u8>)]) -> Model {
    let specs: Vec<_> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata(), &specs).unwrap();
    tensors.iter().for_each(|(_, bytes)| writer.write(bytes).unwrap());
    let file = ModelBytes::Gguf(Cow::Owned(writer.finish().unwrap()));
    parse_model(file, &LoadOptions::default()).unwrap()
}

/// The same tensors in F32.
fn dequantized(tensors: &[(TensorSpec, Vec<u8>)]) -> Vec<(TensorSpec, Vec<u8>)> {
    let convert = |(spec, bytes): &(TensorSpec, Vec<u8>)| {
        let mut values = vec![0.0; spec.shape.iter().product()];
        dequantize(spec.dtype, bytes, &mut values).unwrap();
        (TensorSpec { dtype: DType::F32, ..spec.clone() }, f32_bytes(&values))
    };
    tensors.iter().map(convert).collect()
}

fn norm(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|value| value * value).sum::<f32>().sqrt()
}

#[test]
fn files_in_every_type_compute_the_logits_of_their_dequantized_values() {
    for dtype in DType::all() {
        let tensors = TENSORS.map(|(name, rows, cols)| tensor(name, rows, cols, dtype));
        let stored = model(&tensors);
        assert_eq!(stored.dtypes()[&dtype], if dtype == DType::F32 { 12 } else { 9 });
        let exact = executed::logits(&model(&dequantized(&tensors)), &TOKENS).concat();
        let plain = interpreter::run(&stored, &TOKENS, &mut |_, _| ()).concat();
        let actual = executed::logits(&stored, &TOKENS).concat();
        assert!(exact.iter().chain(&actual).all(|logit| logit.is_finite()), "{dtype}");
        let error = |logits: &[f32]| {
            norm(logits.iter().zip(&exact).map(|(a, e)| a - e)) / norm(exact.iter().copied())
        };
        println!("{dtype}: {:.2e} in plain arithmetic, {:.2e} on the CPU", error(&plain), error(&actual));
        assert!(error(&plain) <= 1e-5, "{dtype}: {:.2e} in plain arithmetic", error(&plain));
        // The rounding of activations to int8, as for all quantized weights (see quantized.rs), or to BF16.
        let tolerance = if matches!(dtype, DType::F32 | DType::F16) { 1e-5 } else { 0.07 };
        assert!(error(&actual) <= tolerance, "{dtype}: {:.2e} on the CPU", error(&actual));
    }
}
