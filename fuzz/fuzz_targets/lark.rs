//! Lark grammars: an error, or a constraint that some tokens satisfy.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("lark"), |bytes: &[u8]| {
    let _ = sm_mutate::run("lark", bytes);
});
