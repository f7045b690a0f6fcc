//! Every golden model loads into a valid plan, from every file it comes in.

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
fn every_golden_model_becomes_a_valid_plan() {
    for path in models() {
        let model = load_model(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
        model.plan.validate().unwrap_or_else(|error| panic!("{}: {error}\n{}", path.display(), model.plan));
    }
}
