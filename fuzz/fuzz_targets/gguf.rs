//! GGUF files: whatever the bytes, the reader gives an error or tensors that lie within them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sm_model::Gguf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Gguf::parse(bytes.to_vec()) else { return };
    for tensor in file.tensors() {
        assert_eq!(file.tensor_bytes(tensor).len(), tensor.bytes.len());
    }
});
