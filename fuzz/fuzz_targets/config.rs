//! Configurations over valid weights: an error, or a model that fits them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sm_fuzz::{Folder, load_and_read};

const WEIGHTS: &[u8] = include_bytes!("../../crates/sm-model/tests/data/arch/qwen3/model.safetensors");

fuzz_target!(|bytes: &[u8]| {
    let folder = Folder::with(&[("config.json", bytes), ("model.safetensors", WEIGHTS)]);
    load_and_read(folder.path());
});
