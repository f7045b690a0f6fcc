//! `.smnd` checkpoints: an error, or a model whose tensors lie within the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sm_fuzz::{Folder, load_and_read};

fuzz_target!(|bytes: &[u8]| {
    let folder = Folder::with(&[("model.smnd", bytes)]);
    load_and_read(&folder.path().join("model.smnd"));
});
