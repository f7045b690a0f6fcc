//! Vocabularies of GGUF files: an error, or a tokenizer that takes any text.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("gguf_tokenizer"), |bytes: &[u8]| {
    let _ = sm_mutate::run("gguf_tokenizer", bytes);
});
