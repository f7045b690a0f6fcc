//! Every golden model loads into a valid plan, from every format it comes in.

use std::path::PathBuf;

use sm_model::{LoadOptions, load_model};

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
