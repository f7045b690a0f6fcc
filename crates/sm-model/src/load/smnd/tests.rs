//! The `.smnd` reader: a published checkpoint, and corrupted variations of it.

use super::*;

fn read(bytes: &[u8]) -> Result<(SmndConfig, Vec<TensorInfo>), LoadError> {
    super::read(&bytes.to_vec().into())
}

fn demo() -> Option<Vec<u8>> {
    let path = crate::testing::data_dir()?.join("models/smnd/demo-model.smnd");
    Some(std::fs::read(path).unwrap())
}

#[track_caller]
fn fails_with(bytes: &[u8], expected: &str) {
    let message = read(bytes).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn reads_a_published_checkpoint() {
    let Some(bytes) = demo() else { return };
    let (config, tensors) = read(&bytes).unwrap();
    assert_eq!((config.vocab_size, config.block_size, config.num_layers), (50, 32, 2));
    assert_eq!(tensors.len(), 29);
    assert_eq!((tensors[28].name.as_str(), &tensors[28].shape[..]), ("output.weight", &[50, 64][..]));
    assert_eq!(tensors[28].bytes.end, bytes.len());
}

#[test]
fn errors_name_what_is_corrupt() {
    let Some(bytes) = demo() else { return };
    let metadata_len = i32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
    let tensors_at = 20 + metadata_len;
    let with = |offset: usize, replacement: &[u8]| {
        let mut copy = bytes.clone();
        copy[offset..offset + replacement.len()].copy_from_slice(replacement);
        copy
    };
    fails_with(&with(0, b"GGUF"), "not a smnd file");
    fails_with(&with(4, &2i32.to_le_bytes()), "smnd version 2 is not supported; supported: 1");
    fails_with(&with(16, &(-1i32).to_le_bytes()), "the metadata length is -1");
    fails_with(&with(16, &i32::MAX.to_le_bytes()), "the metadata length is 2147483647");
    fails_with(
        &with(tensors_at, &28i32.to_le_bytes()),
        "\"tensor_count\" = 28 is not supported: a model of 2 layers has 29 tensors",
    );
    fails_with(&with(tensors_at + 4, &9i32.to_le_bytes()), "the rank of \"token_embd.weight\" is 9");
    fails_with(&with(tensors_at + 8, &49i32.to_le_bytes()), "\"token_embd.weight\" has shape [49, 64]");
    fails_with(
        &with(tensors_at + 16, &1i32.to_le_bytes()),
        "the element count of \"token_embd.weight\" is 1",
    );
    fails_with(&bytes[..bytes.len() - 1], "output.weight at byte");
    let at = bytes.windows(16).position(|window| window == b"TransformerModel").unwrap();
    fails_with(&with(at, b"Conv"), "\"ModelType\" = \"ConvsformerModel\" is not supported");
    fails_with(&[], "magic at byte 0 needs 4 bytes");
}
