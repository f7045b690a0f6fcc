//! Configurations over valid weights: an error, or a model that fits them.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("config"), |bytes: &[u8]| {
    let _ = sm_mutate::run("config", bytes);
});
