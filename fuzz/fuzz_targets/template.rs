//! Chat templates: an error or a text, within bounded time and stack.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("template"), |bytes: &[u8]| {
    let _ = sm_mutate::run("template", bytes);
});
