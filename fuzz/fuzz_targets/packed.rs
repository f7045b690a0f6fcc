//! Packed weights: they are read, or packed again.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("packed"), |bytes: &[u8]| {
    let _ = sm_mutate::run("packed", bytes);
});
