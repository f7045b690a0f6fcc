//! The plans of some golden models, as text.

use sm_model::{LoadOptions, load_model};
use sm_tensor::DType;

use crate::golden_dir;

#[track_caller]
fn check(model: &str, quant: Option<DType>, expected: &str) {
    let options = LoadOptions { context_len: None, quant };
    let plan = load_model(&golden_dir().join(model), &options).unwrap().plan.to_string();
    for (number, (actual, expected)) in plan.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "line {} of\n{plan}", number + 1);
    }
    assert_eq!(plan, expected);
}

#[test]
fn gemma2_has_norms_on_both_sides_windows_and_soft_caps() {
    check("gemma2-attention-scale", None, include_str!("snapshots/gemma2.txt"));
}

#[test]
fn phi3_has_fused_matrices_quantized() {
    check("phi3", Some(DType::Q8_0), include_str!("snapshots/phi3-q8_0.txt"));
}

#[test]
fn gpt2_has_learned_positions_and_biases() {
    check("gpt2/model.gguf", None, include_str!("snapshots/gpt2.txt"));
}

#[test]
fn qwen3_moe_has_experts_in_some_layers() {
    check("qwen3-moe-dense-layer", None, include_str!("snapshots/qwen3-moe.txt"));
}
