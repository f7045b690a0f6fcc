//! GGUF files: an error, or a model whose tensors lie within the file.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("gguf"), |bytes: &[u8]| {
    let _ = sm_mutate::run("gguf", bytes);
});
