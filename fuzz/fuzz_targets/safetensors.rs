//! Safetensors files under a valid configuration: an error, or a model whose tensors lie within the file.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("safetensors"), |bytes: &[u8]| {
    let _ = sm_mutate::run("safetensors", bytes);
});
