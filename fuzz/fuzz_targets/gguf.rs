//! GGUF files: an error, or a model whose tensors lie within the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sm_fuzz::{Folder, load_and_read};
use sm_model::Gguf;

fuzz_target!(|bytes: &[u8]| {
    // Most inputs end in the reader itself; only what it takes is worth a file.
    if Gguf::parse(bytes.to_vec()).is_ok() {
        let folder = Folder::with(&[("model.gguf", bytes)]);
        load_and_read(&folder.path().join("model.gguf"));
    }
});
