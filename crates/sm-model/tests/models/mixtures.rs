//! Mixtures give tensors the types that llama.cpp gives them.

use std::collections::HashMap;

use serde::Deserialize;
use sm_model::{Mixture, MixtureModel};
use sm_tensor::DType;

/// A model of `xtask/golden/mixtures.py`, and what llama.cpp made of it.
#[derive(Deserialize)]
struct Golden {
    n_layers: usize,
    heads_per_kv_head: usize,
    is_tied: bool,
    n_experts: usize,
    has_importance: bool,
    mixtures: HashMap<String, GoldenMixture>,
}

#[derive(Deserialize)]
struct GoldenMixture {
    file_type: u32,
    most: String,
    /// Tensors of other types.
    types: HashMap<String, Vec<String>>,
}

const WIDTH: usize = 256;

/// The matrices of the model.
fn matrices(golden: &Golden) -> Vec<String> {
    let ending = if golden.n_experts > 0 { "_exps" } else { "" };
    let parts = ["attn_q", "attn_k", "attn_v", "attn_output"].map(str::to_owned);
    let parts: Vec<_> =
        parts.into_iter().chain(["gate", "up", "down"].map(|part| format!("ffn_{part}{ending}"))).collect();
    let of_layer = |layer: usize| parts.iter().map(move |part| format!("blk.{layer}.{part}.weight"));
    let head = (!golden.is_tied).then(|| "output.weight".to_owned());
    ["token_embd.weight".to_owned()]
        .into_iter()
        .chain((0..golden.n_layers).flat_map(of_layer))
        .chain(head)
        .collect()
}

#[test]
fn tensors_have_the_types_that_llama_cpp_gives_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mixtures.json");
    let goldens: Vec<Golden> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut differences = Vec::new();
    for golden in &goldens {
        let model = MixtureModel::new(golden.n_layers)
            .is_tied(golden.is_tied)
            .heads_per_kv_head(golden.heads_per_kv_head)
            .n_experts(golden.n_experts)
            .has_importance(golden.has_importance);
        assert!(golden.mixtures.len() >= 19);
        for (name, expected) in &golden.mixtures {
            let mixture = Mixture::named(name).unwrap();
            assert_eq!(mixture.file_type(), expected.file_type, "{name}");
            for tensor in matrices(golden) {
                let other = expected.types.iter().find(|(_, tensors)| tensors.contains(&tensor));
                let expected = other.map_or(&expected.most, |(dtype, _)| dtype).parse::<DType>().unwrap();
                let found = mixture.dtype_of(&tensor, &[WIDTH, WIDTH], &model);
                if found != expected {
                    differences.push(format!("{name} {model:?}: {tensor} is {found}, not {expected}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
