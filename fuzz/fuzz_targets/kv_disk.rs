//! Pages of the KV cache on disk: they are read, or computed again.
#![no_main]

libfuzzer_sys::fuzz_target!(init: sm_mutate::write_corpus("kv_disk"), |bytes: &[u8]| {
    let _ = sm_mutate::run("kv_disk", bytes);
});
