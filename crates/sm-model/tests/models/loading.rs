//! Every golden model loads into a valid plan, from every format it comes in.

use std::path::{Path, PathBuf};

use sm_model::metadata::Value;
use sm_model::{Gguf, GgufWriter, LoadOptions, TensorSpec, load_model};

use crate::golden_dir;

fn models() -> Vec<PathBuf> {
    let mut models = Vec::new();
    for entry in golden_dir().read_dir().unwrap() {
        let dir = entry.unwrap().path();
        let gguf = dir.join("model.gguf");
        if gguf.is_file() {
            models.push(gguf);
        }
        if dir.join("config.json").is_file() {
            models.push(dir);
        }
    }
    models.sort();
    assert!(models.len() > 30, "{models:?}");
    models
}

#[test]
fn every_golden_model_has_a_valid_plan() {
    for path in models() {
        let model = load_model(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        model.plan.validate().unwrap_or_else(|error| panic!("{}: {error}\n{}", path.display(), model.plan));
    }
}

/// Writes a model's GGUF file as several, as `llama-gguf-split` does.
fn split(source: &Path, dir: &Path, count: usize) -> Vec<PathBuf> {
    let file = Gguf::open(source).unwrap();
    let per_part = file.tensors().len().div_ceil(count);
    let parts = file.tensors().chunks(per_part).enumerate().map(|(number, tensors)| {
        let mut metadata =
            if number == 0 { file.metadata().clone() } else { sm_model::metadata::Metadata::default() };
        metadata.insert("split.no", Value::U16(number as u16));
        metadata.insert("split.count", Value::U16(count as u16));
        metadata.insert("split.tensors.count", Value::I32(file.tensors().len() as i32));
        let spec = |info: &sm_model::TensorInfo| TensorSpec {
            name: info.name.clone(),
            shape: info.shape.clone(),
            dtype: info.dtype,
        };
        let specs: Vec<_> = tensors.iter().map(spec).collect();
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
        tensors.iter().for_each(|info| writer.write(&file.tensor_bytes(info).unwrap()).unwrap());
        let path = dir.join(format!("m-{:05}-of-{count:05}.gguf", number + 1));
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        path
    });
    parts.collect()
}

#[test]
fn a_split_gguf_model_is_one_model() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("split-gguf");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let source = golden_dir().join("llama-gqa/model.gguf");
    let whole = load_model(&source, &LoadOptions::default()).unwrap();
    let parts = split(&source, &dir, 3);
    for path in [&parts[0], &parts[2], &dir] {
        let model = load_model(path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((&model.spec, model.n_parameters()), (&whole.spec, whole.n_parameters()));
    }
    let message = |path: &Path| load_model(path, &LoadOptions::default()).unwrap_err().to_string();
    let renamed = dir.join("other.gguf");
    std::fs::copy(&parts[0], &renamed).unwrap();
    assert!(message(&renamed).contains("must be called NAME-00001-of-00003.gguf"), "{}", message(&renamed));
    std::fs::rename(&renamed, &parts[1]).unwrap();
    assert!(message(&parts[0]).contains("\"split.no\" = 0 is not supported: by its name it must be 1"));
    std::fs::remove_file(&parts[1]).unwrap();
    let missing = message(&parts[0]);
    assert!(
        missing.contains("m-00002-of-00003.gguf is missing: the model is split into 3 files"),
        "{missing}"
    );
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_at_once() {
    let fifo = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model.gguf.pipe");
    let _ = std::fs::remove_file(&fifo);
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [fifo.as_path(), Path::new("/dev/zero")] {
        let message = load_model(path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("is not a model: it is a pipe or a device"), "{message}");
        let message = Gguf::open(path).unwrap_err().to_string();
        assert!(message.contains("it is a pipe or a device"), "{message}");
    }
}

#[test]
fn models_are_shared_between_threads() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<sm_model::Model>();
}

#[test]
fn a_model_reports_its_parameters_types_and_context() {
    let model = load_model(&golden_dir().join("qwen3-moe/model.gguf"), &LoadOptions::default()).unwrap();
    assert_eq!(model.architecture(), "qwen3_moe");
    let n_parameters: usize = model.weights.tensors().iter().map(|tensor| tensor.n_values()).sum();
    assert_eq!(model.n_parameters(), n_parameters as u64);
    assert_eq!(model.dtypes().values().sum::<usize>(), model.weights.tensors().len());
    assert_eq!((model.spec.max_context_len, model.plan.context_len), (256, 256));
}
