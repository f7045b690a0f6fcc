//! Quantized checkpoints as whole models. Their logits are checked with those of all golden models.

use std::path::Path;

use sm_kernels::plan::WeightSource;
use sm_model::{ExportOptions, Gguf, LoadNote, LoadOptions, Loss, Mixture, Model, export_gguf, load_model};
use sm_tensor::{DType, dequantize, quantize};

use crate::quantized_dir;

const UP: &str = "model.layers.0.mlp.up_proj.weight";

fn load(name: &str, quant: Option<DType>) -> Model {
    let options = LoadOptions { context_len: None, quant };
    load_model(&quantized_dir().join(name), &options).unwrap_or_else(|error| panic!("{error}"))
}

/// A matrix of the plan, as it goes to the backend.
fn rows(model: &Model, tensor: &str) -> Vec<u8> {
    let mut parts = model.plan.matrices.iter().flat_map(|matrix| &matrix.parts);
    let part = parts.find(|part| part.tensor == tensor).unwrap();
    model.weights.matrix_rows(tensor, 0..part.rows, &mut Vec::new()).unwrap().to_vec()
}

#[test]
fn quantized_matrices_keep_their_codes_where_a_block_format_has_them() {
    for (name, stored, dtype) in [
        ("llama-gptq", "gptq 4-bit, groups of 32", DType::Q5_0),
        ("llama-awq", "awq 4-bit, groups of 32", DType::Q5_0),
        ("llama-ct-int4", "compressed-tensors int4, groups of 32", DType::Q4_0),
        ("llama-ct-int8", "compressed-tensors int8, a scale per row", DType::Q8_0),
        ("llama-mlx", "mlx 4-bit, groups of 32", DType::Q4_1),
        ("qwen3-fp8", "fp8 e4m3, blocks of 32×64", DType::Bf16),
    ] {
        let model = load(name, None);
        assert_eq!(model.weights.stored_form(UP), Some(stored), "{name}");
        let part = model.plan.matrices.iter().flat_map(|matrix| &matrix.parts).find(|part| part.tensor == UP);
        assert_eq!(part.unwrap().dtype, dtype, "{name}");
        assert_eq!(model.weights.stored_form("model.norm.weight"), None, "{name}");
    }
}

#[test]
fn rounded_matrices_and_unused_scales_are_noted_once_per_model() {
    assert_eq!(load("llama-gptq", None).weights.notes(), []);
    let rounded = LoadNote::Rounded {
        form: "fp8 e4m3, blocks of 32×64".into(),
        n_matrices: 7,
        n_quantized: 7,
        dtype: DType::Bf16,
        loss: Loss::Fp8,
    };
    assert_eq!(load("qwen3-fp8", None).weights.notes(), [rounded, LoadNote::Activations { n_scales: 0 }]);
}

#[test]
fn quantized_matrices_can_be_quantized_otherwise_on_load() {
    for (name, from, to) in [
        ("llama-awq", DType::Q5_0, DType::Q8_0),
        ("llama-mlx", DType::Q4_1, DType::F16),
        ("qwen3-fp8", DType::Bf16, DType::Q4_0),
    ] {
        let mut values = vec![0.0; 96 * 64];
        dequantize(from, &rows(&load(name, None), UP), &mut values).unwrap();
        let mut expected = vec![0; to.row_bytes(values.len()).unwrap()];
        quantize(to, &values, &mut expected).unwrap();
        assert!(rows(&load(name, Some(to)), UP) == expected, "{name}");
    }
}

#[test]
fn exported_matrices_have_the_codes_of_the_checkpoint() {
    for (name, dtype) in
        [("llama-awq", DType::Q5_0), ("llama-mlx", DType::Q4_1), ("llama-ct-int8", DType::Q8_0)]
    {
        let model = load(name, None);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("checkpoint-{name}.gguf"));
        let options = ExportOptions::new(Mixture::uniform(dtype));
        let exported =
            export_gguf(&model, &path, &options, &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(exported.n_requantized, 0, "{name}");
        let file = Gguf::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let up = file.tensors().iter().find(|info| info.name == "blk.0.ffn_up.weight").unwrap();
        assert_eq!((up.dtype, &up.shape[..]), (dtype, &[96, 64][..]), "{name}");
        assert!(*file.tensor_bytes(up).unwrap() == rows(&model, UP), "{name}");
    }
}
