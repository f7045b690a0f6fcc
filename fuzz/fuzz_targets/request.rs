//! Requests to the server: an answer, or an error that is the request's.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("request"), |bytes: &[u8]| {
    let _ = sm_mutate::run("request", bytes);
});
