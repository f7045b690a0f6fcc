//! Safetensors files under a valid configuration: an error, or a model whose tensors lie within the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sm_fuzz::{Folder, load_and_read};

const CONFIG: &[u8] = include_bytes!("../../crates/sm-model/tests/data/arch/llama-gqa/config.json");

fuzz_target!(|bytes: &[u8]| {
    let folder = Folder::with(&[("config.json", CONFIG), ("model.safetensors", bytes)]);
    load_and_read(folder.path());
});
