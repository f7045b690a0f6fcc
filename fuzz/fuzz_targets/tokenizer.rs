//! `tokenizer.json`: an error, or a tokenizer that takes any text.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("tokenizer"), |bytes: &[u8]| {
    let _ = sm_mutate::run("tokenizer", bytes);
});
