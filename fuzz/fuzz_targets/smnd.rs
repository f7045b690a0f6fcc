//! `.smnd` checkpoints: an error, or a model whose tensors lie within the file.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("smnd"), |bytes: &[u8]| {
    let _ = sm_mutate::run("smnd", bytes);
});
