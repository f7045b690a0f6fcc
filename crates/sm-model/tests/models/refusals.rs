//! Models that cannot be loaded are refused with a message that names the cause and the remedy.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use sm_model::metadata::{self, Metadata};
use sm_model::{Gguf, LoadError, LoadOptions, Model, ModelBytes, load_model, parse_model};

use crate::golden_dir;

/// A Hugging Face model, to be changed by a test.
struct HfModel {
    config: Map<String, Value>,
    header: BTreeMap<String, Value>,
    data: Vec<u8>,
}

impl HfModel {
    fn golden(name: &str) -> Self {
        let dir = golden_dir().join(name);
        let config = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
        let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
        Self { config, header, data: bytes[8 + header_len..].to_vec() }
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    fn unset(mut self, key: &str) -> Self {
        self.config.remove(key);
        self
    }

    fn rename(mut self, from: &str, to: &str) -> Self {
        let tensor = self.header.remove(from).unwrap();
        self.header.insert(to.to_owned(), tensor);
        self
    }

    fn load(&self) -> Result<Model, LoadError> {
        let header = serde_json::to_vec(&self.header).unwrap();
        let tensors = [&(header.len() as u64).to_le_bytes()[..], &header, &self.data].concat();
        let config = serde_json::to_vec(&self.config).unwrap();
        parse_model(ModelBytes::Directory { config, tensors }, &LoadOptions::default())
    }

    #[track_caller]
    fn fails_with(&self, expected: &str) {
        let message = self.load().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn unknown_architectures_are_refused_with_the_supported_ones() {
    let llama = || HfModel::golden("llama-gqa");
    let supported = "supported: llama, mistral, mistral3, mixtral, smollm3, granite, olmo2, olmo3, exaone4, glm, glm4, apertus, ernie4_5, hunyuan, qwen2, qwen2_moe, qwen3, qwen3_moe, gemma, gemma2, gemma3, phi3, gpt2";
    llama().set("architectures", json!(["BertModel"])).fails_with("unknown architecture \"BertModel\"");
    llama().set("architectures", json!(["BertModel"])).fails_with(supported);
    llama().unset("architectures").load().unwrap();
    llama()
        .unset("architectures")
        .set("model_type", json!("bert"))
        .fails_with("unknown architecture \"bert\"");
}

#[test]
fn tensors_that_contradict_the_configuration_are_named() {
    let llama = || HfModel::golden("llama-gqa");
    let q = "model.layers.0.self_attn.q_proj.weight";
    llama().rename(q, "elsewhere").fails_with(&format!("the model has no tensor \"{q}\""));
    llama().rename("model.embed_tokens.weight", "wte").fails_with("no tensor \"model.embed_tokens.weight\"");
    llama().set("vocab_size", json!(57)).fails_with("\"model.embed_tokens.weight\" has shape [56, 32] but");
    llama()
        .set("intermediate_size", json!(41))
        .fails_with("has shape [40, 32] but the configuration implies [41, 32]");
    llama().set("num_key_value_heads", json!(3)).fails_with("4 query heads cannot share them evenly");
    llama().set("num_hidden_layers", json!(1)).fails_with("is not part of the model");
    llama()
        .set("attention_bias", json!(true))
        .fails_with("no tensor \"model.layers.0.self_attn.q_proj.bias\"");
    let qwen = HfModel::golden("qwen2").set("architectures", json!(["LlamaForCausalLM"]));
    qwen.fails_with("\"model.layers.0.self_attn.k_proj.bias\" is not part of the model");
}

#[test]
fn unsupported_features_are_refused() {
    let llama = || HfModel::golden("llama-gqa");
    llama().set("rope_scaling", json!({"rope_type": "dynamic", "factor": 2.0})).fails_with("\"dynamic\"");
    llama()
        .set("rope_scaling", json!({"rope_type": "linear"}))
        .fails_with("\"rope_scaling.factor\" is missing");
    llama().set("partial_rotary_factor", json!(0.5)).fails_with("rotates whole heads");
    llama().set("mlp_bias", json!(true)).fails_with("\"mlp_bias\" = true is not supported");
    llama().set("hidden_act", json!("relu")).fails_with("\"relu\" is not supported: supported: silu, gelu");
    llama().set("quantization_config", json!({"bits": 4})).fails_with("use a GGUF file");
    llama()
        .set("hidden_size", json!("32"))
        .fails_with("\"hidden_size\" is \"32\", expected a non-negative integer");
    llama().set("num_hidden_layers", json!(1_000_000)).fails_with("it must be in 1..=4096");
    llama().unset("num_attention_heads").fails_with("\"num_attention_heads\" is missing");
    let gemma = || HfModel::golden("gemma3-linear-rope");
    gemma().set("layer_types", json!(["full_attention"])).fails_with("the model has 3 layers");
    gemma().set("layer_types", json!(vec!["chunked_attention"; 3])).fails_with("supported: full_attention");
    gemma().set("use_bidirectional_attention", json!(true)).fails_with("only causal attention");
    let smollm3 = HfModel::golden("smollm3-listed-layers").set("no_rope_layers", json!([1, 0]));
    smollm3.fails_with("\"no_rope_layers\" = a list of 2 is not supported: the model has 3 layers");
    let phi = HfModel::golden("phi3-longrope").set("partial_rotary_factor", json!(1.0));
    phi.fails_with("a rotation of 16 values needs 8 positive divisors");
    let mixtral = HfModel::golden("mixtral").set("num_experts_per_tok", json!(5));
    mixtral.fails_with("there are only 4 experts");
    let ernie = || HfModel::golden("ernie4_5");
    ernie().set("use_bias", json!(true)).fails_with("\"use_bias\" = true is not supported: biases");
    ernie().set("compression_ratio", json!(2.0)).fails_with("compressed positions are not supported");
    let mut apertus = HfModel::golden("apertus");
    apertus.header.remove("model.layers.1.mlp.act_fn.alpha_n").unwrap();
    apertus.fails_with("no tensor \"model.layers.1.mlp.act_fn.alpha_n\"");
    let mut apertus = HfModel::golden("apertus");
    apertus.header.get_mut("model.layers.0.mlp.act_fn.beta").unwrap()["dtype"] = json!("I8");
    apertus.header.get_mut("model.layers.0.mlp.act_fn.beta").unwrap()["shape"] = json!([2]);
    apertus.fails_with("a parameter of an activation is one value");
    let plain = HfModel::golden("apertus").set("hidden_act", json!("silu"));
    plain.fails_with("act_fn.");
    let alpha = json!({"type": "dynamic", "alpha": 1e300});
    HfModel::golden("hunyuan").set("rope_scaling", alpha).fails_with("would not be finite");
}

#[test]
fn configurations_of_transformers_5_mean_the_same() {
    let old = HfModel::golden("llama3-rope");
    let mut parameters = old.config["rope_scaling"].clone();
    parameters["rope_theta"] = old.config["rope_theta"].clone();
    let new = HfModel::golden("llama3-rope").unset("rope_scaling").unset("rope_theta");
    let new = new.set("rope_parameters", parameters);
    assert_eq!(new.load().unwrap().spec, old.load().unwrap().spec);

    let old = HfModel::golden("olmo3");
    let mut full = old.config["rope_scaling"].clone();
    full["rope_theta"] = old.config["rope_theta"].clone();
    let sliding = json!({"rope_type": "default", "rope_theta": old.config["rope_theta"]});
    let new = HfModel::golden("olmo3").unset("rope_scaling").unset("rope_theta");
    let new = new.set("rope_parameters", json!({"full_attention": full, "sliding_attention": sliding}));
    assert_eq!(new.load().unwrap().spec.layers, old.load().unwrap().spec.layers);

    let old = HfModel::golden("gemma3-linear-rope");
    let new = HfModel::golden("gemma3-linear-rope")
        .unset("rope_scaling")
        .unset("rope_theta")
        .unset("rope_local_base_freq");
    let new = new.set(
        "rope_parameters",
        json!({
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }),
    );
    assert_eq!(new.load().unwrap().spec, old.load().unwrap().spec);
}

#[test]
fn the_text_models_of_multimodal_models_load() {
    check_text_model("gemma3", "Gemma3ForConditionalGeneration");
    check_text_model("ministral3", "Mistral3ForConditionalGeneration");
}

/// The text model loads the same from a model that has other modalities too.
fn check_text_model(name: &str, architecture: &str) {
    let plain = HfModel::golden(name);
    let mut nested = HfModel::golden(name);
    let text = std::mem::take(&mut nested.config);
    let renamed = |(name, tensor): (String, Value)| match name.as_str() {
        "__metadata__" => (name, tensor),
        _ => (format!("language_model.{name}"), tensor),
    };
    let nested = HfModel {
        config: Map::from_iter([
            ("architectures".to_owned(), json!([architecture])),
            ("text_config".to_owned(), Value::Object(text)),
        ]),
        header: nested.header.into_iter().map(renamed).collect(),
        data: nested.data,
    };
    let (plain, nested) = (plain.load().unwrap(), nested.load().unwrap());
    assert_eq!(plain.spec.layers, nested.spec.layers);
    assert_eq!(plain.plan.ops, nested.plan.ops);
}

#[test]
fn tensors_that_nothing_needs_may_have_any_type() {
    let with = |name: &str, dtype: &str, n_bytes: usize| {
        let mut model = HfModel::golden("llama-gqa");
        let start = model.data.len();
        model.data.resize(start + n_bytes, 0);
        let tensor = json!({"dtype": dtype, "shape": [2], "data_offsets": [start, start + n_bytes]});
        model.header.insert(name.to_owned(), tensor);
        model
    };
    for (name, dtype, n_bytes) in [
        ("model.embeddings.position_ids", "I64", 16),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "F64", 16),
        ("v_head.summary.weight", "F32", 8),
        ("v_head.summary.bias", "U8", 2),
        ("model.counter", "I64", 16),
    ] {
        with(name, dtype, n_bytes).load().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    with("model.layers.0.extra.weight", "F32", 8).fails_with("is not part of the model");
    let mut needed = HfModel::golden("llama-gqa");
    needed.header.get_mut("model.norm.weight").unwrap()["dtype"] = json!("I32");
    needed.fails_with(
        "tensor \"model.norm.weight\" is stored as I32, which is not supported here; supported: F32",
    );
}

#[test]
fn weights_in_double_precision_are_read() {
    let mut model = HfModel::golden("llama-gqa");
    let tensor = model.header["model.norm.weight"].clone();
    let range = |index: usize| tensor["data_offsets"][index].as_u64().unwrap() as usize;
    let values: Vec<u8> = model.data[range(0)..range(1)]
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&value| f64::from(f32::from_le_bytes(value)).to_le_bytes())
        .collect();
    assert_eq!(tensor["dtype"], "F32");
    let start = model.data.len();
    let doubled =
        json!({"dtype": "F64", "shape": tensor["shape"], "data_offsets": [start, start + values.len()]});
    model.data.extend(values);
    model.header.insert("model.norm.weight".to_owned(), doubled);
    let (expected, found) = (HfModel::golden("llama-gqa").load().unwrap(), model.load().unwrap());
    use sm_kernels::plan::WeightSource;
    let norm = |model: &Model| model.weights.vector("model.norm.weight").unwrap();
    assert_eq!(norm(&found), norm(&expected));
}

#[test]
fn configurations_may_have_the_numbers_of_python() {
    let model = HfModel::golden("llama-gqa");
    let config = serde_json::to_string(&model.config).unwrap();
    let config = config.replacen('{', "{\"time_step_limit\": [0.0, Infinity], \"unused\": NaN,", 1);
    let header = serde_json::to_vec(&model.header).unwrap();
    let tensors = [&(header.len() as u64).to_le_bytes()[..], &header, &model.data].concat();
    let bytes = ModelBytes::Directory { config: config.into_bytes(), tensors };
    assert_eq!(parse_model(bytes, &LoadOptions::default()).unwrap().spec, model.load().unwrap().spec);
}

/// A golden model's GGUF file with changed metadata, loaded.
fn gguf_with(name: &str, change: impl Fn(&mut Metadata)) -> Result<Model, LoadError> {
    let bytes = std::fs::read(golden_dir().join(name).join("model.gguf")).unwrap();
    let file = Gguf::parse(bytes).unwrap();
    let mut metadata = file.metadata().clone();
    change(&mut metadata);
    let specs: Vec<_> = file
        .tensors()
        .iter()
        .map(|info| sm_model::TensorSpec {
            name: info.name.clone(),
            shape: info.shape.clone(),
            dtype: info.dtype,
        })
        .collect();
    let mut writer = sm_model::GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    file.tensors().iter().for_each(|info| writer.write(&file.tensor_bytes(info).unwrap()).unwrap());
    parse_model(ModelBytes::Gguf(writer.finish().unwrap().into()), &LoadOptions::default())
}

#[test]
fn gguf_metadata_are_checked() {
    let fails_with = |name: &str, key: &str, value: metadata::Value, expected: &str| {
        let result = gguf_with(name, |metadata| drop(metadata.insert(key, value.clone())));
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    let text = |text: &str| metadata::Value::String(text.to_owned());
    gguf_with("llama-gqa", |_| ()).unwrap();
    fails_with(
        "llama-gqa",
        "general.architecture",
        text("bert"),
        "unknown architecture \"bert\"; supported: llama",
    );
    fails_with("llama-gqa", "llama.block_count", text("two"), "\"llama.block_count\" is a string, expected");
    fails_with("llama-gqa", "llama.block_count", metadata::Value::U32(0), "\"llama.block_count\" = 0");
    fails_with(
        "llama-gqa",
        "llama.block_count",
        metadata::Value::U32(9),
        "no tensor \"blk.2.attn_q.weight\"",
    );
    fails_with("llama-gqa", "llama.rope.freq_base", metadata::Value::F32(-1.0), "it must be positive");
    fails_with(
        "llama-gqa",
        "llama.rope.scaling.type",
        text("ntk"),
        "supported: none, linear, yarn, longrope",
    );
    fails_with(
        "qwen3-moe",
        "qwen3moe.expert_shared_count",
        metadata::Value::U32(1),
        "only mixtures without shared",
    );
    fails_with("qwen3-moe", "qwen3moe.expert_gating_func", metadata::Value::U32(2), "supported: 1 (softmax)");
}

#[test]
fn windows_of_gguf_files_apply_where_llama_cpp_applies_them() {
    let windows = |name: &str, prefix: &str, window: Option<u32>| {
        let model = gguf_with(name, |metadata| {
            let key = format!("{prefix}.attention.sliding_window");
            metadata.remove(&key);
            if let Some(window) = window {
                metadata.insert(key, metadata::Value::U32(window));
            }
        });
        model.unwrap().spec.attentions().map(|attention| attention.window).collect::<Vec<_>>()
    };
    for (name, prefix) in
        [("llama-gqa", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("phi3", "phi3"), ("gemma", "gemma")]
    {
        let found = windows(name, prefix, Some(7));
        assert!(found.iter().all(Option::is_none), "{name}: {found:?}");
    }
    assert_eq!(windows("gemma2", "gemma2", Some(7))[..2], [Some(7), None]);
    assert_eq!(windows("gemma2", "gemma2", None)[..2], [Some(4096), None]);
    assert!(windows("gemma3", "gemma3", None).iter().all(Option::is_none));
    assert!(windows("gemma3", "gemma3", Some(7)).contains(&Some(7)));
}

#[test]
fn paths_without_a_model_are_refused() {
    let fails_with = |path: &Path, expected: &str| {
        let message = load_model(path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    fails_with(Path::new("/does/not/exist"), "cannot read /does/not/exist: No such file");
    fails_with(&golden_dir(), "has neither a config.json nor a .gguf file");
    fails_with(&golden_dir().join("gpt2/logits-0.f32"), "expected a directory with config.json");
    let options = LoadOptions { context_len: Some(1000), quant: None };
    let message = load_model(&golden_dir().join("gpt2"), &options).unwrap_err().to_string();
    assert!(message.contains("context length 1000 is out of range; the model supports 1 to 64"), "{message}");
}

#[test]
fn the_attention_factors_of_yarn_are_those_of_the_converter_and_of_llama_cpp() {
    use sm_model::spec::RopeScaling;
    let factor = |name: &str, prefix: &str, entries: &[(&str, f32)]| -> Result<f32, String> {
        let model = gguf_with(name, |metadata| {
            for (key, value) in entries {
                metadata.insert(format!("{prefix}.rope.scaling.{key}"), metadata::Value::F32(*value));
            }
        });
        let spec = model.map_err(|error| error.to_string())?.spec;
        let rope = spec.attentions().last().unwrap().rope.clone().unwrap();
        match rope.scaling {
            RopeScaling::Yarn { attention_factor, .. } => Ok(attention_factor),
            other => panic!("{other:?}"),
        }
    };
    let recommended = 0.1 * 4.0f32.ln() + 1.0;
    assert_eq!(factor("llama-yarn", "llama", &[]), Ok(recommended));
    // `attention_factor` of config.json is the whole factor, and converters copy it.
    assert_eq!(factor("llama-yarn", "llama", &[("yarn_attn_factor", 1.25)]), Ok(1.25));
    assert_eq!(factor("llama-yarn", "llama", &[("attn_factor", 0.5)]), Ok(0.5 * recommended));
    let refused = factor("llama-yarn", "llama", &[("yarn_log_multiplier", 1.0)]).unwrap_err();
    assert!(refused.contains("only the recommended attention factor is supported"), "{refused}");
    assert_eq!(factor("ministral3", "mistral3", &[]), Ok(1.0));
    let half = (0.1 * 4.0f32.ln() + 1.0) / (0.05 * 4.0f32.ln() + 1.0);
    let found = factor("ministral3", "mistral3", &[("yarn_log_multiplier", 0.5)]).unwrap();
    assert!((found - half).abs() < 1e-6, "{found}");
}

#[test]
fn listed_layers_count_whatever_the_pattern_is_called() {
    let kinds = [true, true, true, false, true]
        .map(|sliding| if sliding { "sliding_attention" } else { "full_attention" });
    let plain = HfModel::golden("exaone4-window");
    let spelled = HfModel::golden("exaone4-window").set("layer_types", json!(kinds));
    let spelled = spelled.set("sliding_window_pattern", json!("LLLG"));
    assert_eq!(spelled.load().unwrap().spec, plain.load().unwrap().spec);
}
