//! Exported GGUF files equal those of llama.cpp's converter.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sm_model::metadata::Value;
use sm_model::{ExportError, ExportOptions, Gguf, LoadOptions, Mixture, export_gguf, load_model};
use sm_tensor::{DType, quantize};

use crate::golden_dir;

/// Exports a golden Hugging Face model to a temporary file, and reads it.
fn export(model: &str, dtype: DType) -> Result<Gguf, ExportError> {
    let model_dir = golden_dir().join(model);
    static RUN: AtomicUsize = AtomicUsize::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("export-{run}-{model}-{dtype}.gguf"));
    let loaded = load_model(&model_dir, &LoadOptions::default())?;
    export_gguf(&loaded, &path, &ExportOptions::new(Mixture::uniform(dtype)), &mut |_, _| {})?;
    let file = Gguf::open(&path)?;
    std::fs::remove_file(&path).unwrap();
    Ok(file)
}

/// Golden models that exist in both formats.
fn pairs() -> Vec<String> {
    let entries = golden_dir().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let both = entries.filter(|dir| dir.join("config.json").is_file() && dir.join("model.gguf").is_file());
    both.map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn tensors_equal_those_of_the_reference_file() {
    let models = pairs();
    assert!(models.len() >= 10, "{models:?}");
    for model in models {
        let reference = Gguf::open(&golden_dir().join(&model).join("model.gguf")).unwrap();
        let written = export(&model, DType::F32).unwrap_or_else(|error| panic!("{model}: {error}"));
        assert_eq!(written.tensors().len(), reference.tensors().len(), "{model}");
        for expected in reference.tensors() {
            let found = written.tensors().iter().find(|tensor| tensor.name == expected.name);
            let found = found.unwrap_or_else(|| panic!("{model}: no tensor {}", expected.name));
            assert_eq!((&found.shape, found.dtype), (&expected.shape, DType::F32), "{model}: {}", found.name);
            let values = written.tensor_bytes(found).unwrap();
            let values: Vec<f32> =
                values.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            if expected.name == "rope_freqs.weight" {
                let expected = reference.tensor_bytes(expected).unwrap();
                let expected = expected.as_chunks::<4>().0;
                let mut pairs = values.iter().zip(expected.iter().map(|&bytes| f32::from_le_bytes(bytes)));
                assert!(pairs.all(|(a, b)| (a - b).abs() <= 1e-6 * b), "{model}: {values:?}");
                continue;
            }
            let mut stored = vec![0; expected.bytes.len()];
            quantize(expected.dtype, &values, &mut stored).unwrap();
            assert!(
                stored == *reference.tensor_bytes(expected).unwrap(),
                "{model}: {} has other values",
                found.name
            );
        }
    }
}

#[test]
fn metadata_equal_those_of_the_reference_file() {
    let mut differences = Vec::new();
    for model in pairs() {
        let reference = Gguf::open(&golden_dir().join(&model).join("model.gguf")).unwrap();
        let written = export(&model, DType::F32).unwrap();
        for (key, expected) in reference.metadata().iter() {
            let found = written.metadata().value(key);
            // The first is the converter's choice; the next two have no meaning if experts have their own length, and the
            // last ones have none without a scaling.
            let free = ["general.name", "qwen2moe.feed_forward_length", "qwen3moe.feed_forward_length"];
            let is_free = free.contains(&key) || key.starts_with("hunyuan-dense.rope.scaling.");
            if !is_free && found != Some(expected) {
                differences.push(format!("{model}: {key} is {found:?}, expected {expected:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn quantized_files_declare_their_type_and_keep_vectors() {
    let file = export("llama-gqa", DType::Q8_0).unwrap();
    assert_eq!(file.metadata().value("general.file_type"), Some(&Value::U32(7)));
    let dtype = |name: &str| file.tensors().iter().find(|tensor| tensor.name == name).unwrap().dtype;
    assert_eq!(dtype("output_norm.weight"), DType::F32);
    assert_eq!(dtype("blk.0.attn_q.weight"), DType::Q8_0);
}

#[test]
fn windows_that_an_architecture_lacks_bound_the_context() {
    for (model, architecture, context_len) in [("mistral-window", "llama", 12), ("phi3-longrope", "phi3", 24)]
    {
        let file = export(model, DType::F32).unwrap();
        let context = file.metadata().require::<usize>(&format!("{architecture}.context_length")).unwrap();
        assert_eq!(context, context_len, "{model}");
        let window: Option<usize> =
            file.metadata().get(&format!("{architecture}.attention.sliding_window")).unwrap();
        assert_eq!(window.unwrap_or(0), 0, "{model}");
    }
}

#[test]
fn models_that_gguf_cannot_express_are_refused_and_leave_no_file() {
    for (model, architecture, field) in [
        ("gemma2-attention-scale", "gemma2", "attention"),
        ("qwen3-moe-dense-layer", "qwen3", "list of tensors"),
        ("qwen2-moe-sparse-step", "qwen2", "list of tensors"),
    ] {
        let error = export(model, DType::F32).unwrap_err().to_string();
        assert!(error.contains("GGUF cannot express"), "{error}");
        assert!(error.contains(architecture) && error.contains(field), "{error}");
    }
    let entries =
        Path::new(env!("CARGO_TARGET_TMPDIR")).read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = entries
        .filter(|name| {
            ["gemma2-attention-scale", "dense-layer", "sparse-step"]
                .iter()
                .any(|model| name.to_string_lossy().contains(model))
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
