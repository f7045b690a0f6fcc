//! Tiny models of every kind load as expected.

use std::collections::HashSet;

use sm_model::Gguf;
use sm_model::tokenizer::{EncodeOptions, GgufTokenizer, SequenceMarks, SpecialText, Tokenizer};
use sm_tensor::{DType, dequantize};

use super::*;

fn written(name: &str, mixture: Mixture, seed: u64) -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("sm-synth-{}-{name}-{seed}.gguf", std::process::id()));
    let shape = Shape { name: "test", ..*Shape::named("tiny").unwrap() };
    write(&path, &shape, mixture, seed).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn a_written_model_is_read_back() {
    let gguf = Gguf::parse(written("read", Mixture::named("q4_k_m").unwrap(), 1)).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(metadata.require::<usize>("llama.embedding_length").unwrap(), 256);
    let tokens = metadata.require::<&[String]>("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.len(), 512);
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 512);
    assert_eq!(gguf.tensors().len(), 1 + 2 * 9 + 2);
    let tokenizer = GgufTokenizer::from_metadata(metadata).unwrap();
    let options = EncodeOptions { marks: SequenceMarks::Add, special_text: SpecialText::Plain };
    let ids = tokenizer.encode("ab b€", options).unwrap();
    let text: Vec<_> = ids.iter().map(|id| &tokens[id.0 as usize][..]).collect();
    assert_eq!(text, ["<|begin|>", "ab", "Ġb", "â", "Ĥ", "¬"]);
    for (name, dtype) in [
        ("token_embd.weight", DType::Q4K),
        ("output.weight", DType::Q6K),
        ("blk.1.ffn_down.weight", DType::Q6K),
        ("blk.0.attn_v.weight", DType::Q4K),
        ("blk.0.attn_norm.weight", DType::F32),
    ] {
        let tensor = gguf.tensors().iter().find(|tensor| tensor.name == name).unwrap();
        assert_eq!(tensor.dtype, dtype, "{name}");
    }
}

#[test]
fn weights_are_gaussian_and_rows_differ() {
    for dtype in [DType::F32, DType::Bf16, DType::Q4_0, DType::Q4K] {
        let gguf = Gguf::parse(written("gaussian", Mixture::uniform(dtype), 2)).unwrap();
        let tensor = gguf.tensors().iter().find(|tensor| tensor.name == "blk.0.ffn_up.weight").unwrap();
        assert_eq!((tensor.dtype, &tensor.shape[..]), (dtype, &[512, 256][..]));
        let mut values = vec![0.0; tensor.n_values()];
        dequantize(dtype, &gguf.tensor_bytes(tensor).unwrap(), &mut values).unwrap();
        let variance = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
        // The variance of 131072 values is known to 0.4 %; quantization to Q4_0 adds its own error.
        assert!((variance * 256.0 - 1.0).abs() < 0.03, "{dtype}: {variance}");
        let bytes = gguf.tensor_bytes(tensor).unwrap();
        let rows: HashSet<_> = bytes.chunks(dtype.row_bytes(256).unwrap()).collect();
        // Rows of a single Q4_K block may coincide by chance.
        assert!(rows.len() > 480, "{dtype}: {} different rows of 512", rows.len());
    }
}

#[test]
fn the_seed_decides_the_bytes() {
    let mixture = Mixture::named("q8_0").unwrap();
    assert_eq!(written("a", mixture, 3), written("b", mixture, 3));
    assert_ne!(written("a", mixture, 3), written("b", mixture, 4));
}

#[test]
fn the_extents_of_every_shape_fit() {
    for shape in SHAPES {
        assert_eq!(shape.hidden_size % shape.n_heads, 0, "{}", shape.name);
        assert_eq!(shape.n_heads % shape.n_kv_heads, 0, "{}", shape.name);
        assert!(shape.vocab_size >= 512, "{}", shape.name);
    }
}
