//! The three ways to store experts: stacked, stacked with gate and up fused, or one by one.

use std::collections::BTreeMap;

use serde_json::json;
use sm_model::{Gguf, GgufWriter, LoadOptions, Model, ModelBytes, TensorSpec, load_model, parse_model};

use crate::{golden_dir, interpreter};

fn logits(model: &Model) -> Vec<Vec<f32>> {
    interpreter::run(model, &[5, 40, 17, 3, 29], &mut |_, _| ())
}

fn parse(bytes: ModelBytes) -> Model {
    parse_model(bytes, &LoadOptions::default()).unwrap()
}

/// A safetensors file of BF16 tensors.
fn write_safetensors(tensors: &BTreeMap<String, (Vec<usize>, Vec<u8>)>) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, bytes)) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": "BF16", "shape": shape, "data_offsets": offsets}));
        data.extend(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

#[test]
fn stacked_experts_with_fused_gate_and_up_load() {
    let dir = golden_dir().join("mixtral");
    let apart = load_model(&dir, &LoadOptions::default()).unwrap();
    let n_experts = 4;
    let mut tensors = BTreeMap::new();
    for info in apart.weights.tensors().iter().filter(|info| !info.name.contains(".experts.")) {
        let bytes = apart.weights.stored_bytes(&info.name).unwrap().into_owned();
        tensors.insert(info.name.replace("block_sparse_moe", "mlp"), (info.shape.clone(), bytes));
    }
    for layer in 0..2 {
        let of = |expert: usize, part: &str| {
            let name = format!("model.layers.{layer}.block_sparse_moe.experts.{expert}.{part}.weight");
            apart.weights.stored_bytes(&name).unwrap().into_owned()
        };
        let stack = |parts: &[&str]| -> Vec<u8> {
            (0..n_experts).flat_map(|expert| parts.iter().flat_map(move |part| of(expert, part))).collect()
        };
        let name = |part: &str| format!("model.layers.{layer}.mlp.experts.{part}");
        tensors.insert(name("gate_up_proj"), (vec![n_experts, 80, 32], stack(&["w1", "w3"])));
        tensors.insert(name("down_proj"), (vec![n_experts, 32, 40], stack(&["w2"])));
    }
    let config = std::fs::read(dir.join("config.json")).unwrap();
    let stacked = parse(ModelBytes::Directory { config, tensors: write_safetensors(&tensors) });
    assert_eq!(logits(&stacked), logits(&apart));
}

#[test]
fn gguf_files_with_a_tensor_per_expert_load() {
    let bytes = std::fs::read(golden_dir().join("mixtral/model.gguf")).unwrap();
    let file = Gguf::parse(bytes.clone()).unwrap();
    let (mut specs, mut pieces) = (Vec::new(), Vec::new());
    for info in file.tensors() {
        let bytes = file.tensor_bytes(info).unwrap().into_owned();
        let Some(name) = info.name.strip_suffix("_exps.weight") else {
            specs.push(TensorSpec { name: info.name.clone(), shape: info.shape.clone(), dtype: info.dtype });
            pieces.push(bytes);
            continue;
        };
        for (expert, piece) in bytes.chunks(bytes.len() / info.shape[0]).enumerate() {
            let name = format!("{name}.{expert}.weight");
            specs.push(TensorSpec { name, shape: info.shape[1..].to_vec(), dtype: info.dtype });
            pieces.push(piece.to_vec());
        }
    }
    let mut writer = GgufWriter::new(Vec::new(), file.metadata(), &specs).unwrap();
    pieces.iter().for_each(|piece| writer.write(piece).unwrap());
    let apart = parse(ModelBytes::Gguf(writer.finish().unwrap().into()));
    assert_eq!(logits(&apart), logits(&parse(ModelBytes::Gguf(bytes.into()))));
}

#[test]
fn the_gate_of_a_shared_expert_may_be_a_vector() {
    let bytes = std::fs::read(golden_dir().join("qwen2-moe/model.gguf")).unwrap();
    let file = Gguf::parse(bytes.clone()).unwrap();
    let spec = |info: &sm_model::TensorInfo| TensorSpec {
        name: info.name.clone(),
        shape: match info.shape[..] {
            [1, cols] => vec![cols],
            _ => info.shape.clone(),
        },
        dtype: info.dtype,
    };
    let specs: Vec<TensorSpec> = file.tensors().iter().map(spec).collect();
    assert!(specs.iter().any(|spec| spec.name.contains("ffn_gate_inp_shexp") && spec.shape == [32]));
    let mut writer = GgufWriter::new(Vec::new(), file.metadata(), &specs).unwrap();
    file.tensors().iter().for_each(|info| writer.write(&file.tensor_bytes(info).unwrap()).unwrap());
    let squeezed = parse(ModelBytes::Gguf(writer.finish().unwrap().into()));
    assert_eq!(logits(&squeezed), logits(&parse(ModelBytes::Gguf(bytes.into()))));
}

#[test]
fn files_without_a_width_of_experts_divide_that_of_all_that_a_token_uses() {
    let path = golden_dir().join("qwen2-moe/model.gguf");
    let plain = load_model(&path, &LoadOptions::default()).unwrap();
    let file = Gguf::open(&path).unwrap();
    let mut metadata = file.metadata().clone();
    metadata.remove("qwen2moe.expert_feed_forward_length").unwrap();
    metadata.insert("qwen2moe.feed_forward_length", sm_model::metadata::Value::U32(3 * 16));
    let specs = file.tensors().iter().map(|info| TensorSpec {
        name: info.name.clone(),
        shape: info.shape.clone(),
        dtype: info.dtype,
    });
    let specs: Vec<TensorSpec> = specs.collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    file.tensors().iter().for_each(|info| writer.write(&file.tensor_bytes(info).unwrap()).unwrap());
    assert_eq!(parse(ModelBytes::Gguf(writer.finish().unwrap().into())).spec, plain.spec);
}
