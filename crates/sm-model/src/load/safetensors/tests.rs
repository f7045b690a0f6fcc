//! The safetensors reader: hand-made headers, hostile ones, and agreement with the `safetensors` crate.

use sm_tensor::DType;

use super::*;

fn read_header(bytes: &[u8]) -> Result<FileTensors, LoadError> {
    super::read_header(&bytes.to_vec().into())
}

fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.resize(out.len() + data_bytes, 0);
    out
}

#[track_caller]
fn fails_with(header: &str, data_bytes: usize, expected: &str) {
    let message = read_header(&file(header, data_bytes)).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn reads_tensors_and_skips_metadata() {
    let header =
        r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]}}"#;
    let tensors = read_header(&file(header, 16)).unwrap().plain;
    assert_eq!(tensors.len(), 1);
    assert_eq!((&tensors[0].shape[..], tensors[0].dtype), (&[2, 3][..], DType::Bf16));
    assert_eq!(tensors[0].bytes, 8 + header.len() + 4..8 + header.len() + 16);
}

#[test]
fn tensors_of_unknown_types_are_an_error_of_who_needs_them() {
    let header = r#"{"h.0.attn.bias":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}"#;
    let tensors = read_header(&file(header, 4)).unwrap();
    let unread = UnreadTensor { name: "h.0.attn.bias".into(), dtype: "BOOL".into(), shape: vec![4] };
    assert_eq!((tensors.plain.len(), tensors.unread), (0, vec![unread]));
}

#[test]
fn doubles_and_bytes_become_f32() {
    let header = r#"{"d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},"b":{"dtype":"I8","shape":[3],"data_offsets":[16,19]}}"#;
    let mut bytes = file(header, 0);
    bytes.extend([0.1f64, -1e300].map(f64::to_le_bytes).concat());
    bytes.extend([1, 0x80, 0xFF]);
    let mut tensors = read_header(&bytes).unwrap();
    let (infos, values) = tensors.convert(&bytes.into()).unwrap();
    let of = |index: usize| {
        let values = values[infos[index].bytes.clone()].as_chunks::<4>().0;
        values.iter().map(|&value| f32::from_le_bytes(value)).collect::<Vec<_>>()
    };
    assert_eq!((of(0), of(1)), (vec![0.1, f32::NEG_INFINITY], vec![1.0, -128.0, -1.0]));
    assert!(infos.iter().all(|info| info.dtype == DType::F32) && infos[1].shape == [3]);
    fails_with(
        r#"{"d":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}}"#,
        8,
        "implies 16 bytes but it has 8",
    );
}

#[test]
fn hostile_headers_are_refused() {
    let one = |fields: &str| format!(r#"{{"w":{{{fields}}}}}"#);
    fails_with(
        &one(r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#),
        7,
        "occupies bytes 0..8 of the data, which has only 7",
    );
    fails_with(&one(r#""dtype":"F32","shape":[2],"data_offsets":[8,0]"#), 8, "occupies bytes 8..0");
    fails_with(&one(r#""dtype":"F32","shape":[3],"data_offsets":[0,8]"#), 8, "implies 12 bytes but it has 8");
    fails_with(
        &one(r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]"#),
        8,
        "too many values",
    );
    fails_with(&one(r#""dtype":"F32","shape":[-1],"data_offsets":[0,8]"#), 8, "malformed safetensors header");
    let entry = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    fails_with(&format!("{{{entry},{entry}}}"), 4, "\"w\" occurs twice");
    fails_with("[]", 0, "expected an object of tensors");
}

#[test]
fn hostile_lengths_are_refused() {
    let message = |bytes: &[u8]| read_header(bytes).unwrap_err().to_string();
    assert!(message(&[]).contains("header length at byte 0 needs 8 bytes but 0 are left"));
    assert!(message(&u64::MAX.to_le_bytes()).contains("the header length is 18446744073709551615"));
    assert!(message(&99u64.to_le_bytes()).contains("header at byte 8 needs 99 bytes but 0 are left"));
}

#[test]
fn a_whole_file_counts_more_than_an_index_beside_it() {
    let dir = std::env::temp_dir().join(format!("sm-model-stale-index-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(INDEX), r#"{"weight_map":{"a":"model-1.safetensors"}}"#).unwrap();
    std::fs::write(dir.join(SINGLE), "").unwrap();
    assert_eq!(files(&dir).unwrap(), [dir.join(SINGLE)]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn missing_shards_are_named() {
    let dir = std::env::temp_dir().join(format!("sm-model-missing-shard-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let index = dir.join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map":{"a":"model-1.safetensors","b":"model-1.safetensors"}}"#)
        .unwrap();
    let message = files(&dir).unwrap_err().to_string();
    assert!(message.contains("model-1.safetensors is missing: the index lists 2 tensors in it"), "{message}");
    std::fs::write(&index, r#"{"weight_map":{"a":"../model.safetensors"}}"#).unwrap();
    let message = files(&dir).unwrap_err().to_string();
    assert!(message.contains("a shard must be a file in the same directory as the index"), "{message}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn agrees_with_the_reference_implementation_on_every_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/arch");
    let mut n_tensors = 0;
    for model in std::fs::read_dir(folder).unwrap() {
        let dir = model.unwrap().path();
        for path in if exist_in(&dir) { files(&dir).unwrap() } else { Vec::new() } {
            let bytes = std::fs::read(&path).unwrap();
            let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let ours = read_header(&bytes).unwrap().plain;
            assert_eq!(ours.len(), theirs.len(), "{}", path.display());
            for tensor in ours {
                let view = theirs.tensor(&tensor.name).unwrap();
                assert_eq!(view.shape(), tensor.shape, "{}", tensor.name);
                assert_eq!(view.data(), &bytes[tensor.bytes], "{}", tensor.name);
                n_tensors += 1;
            }
        }
    }
    assert!(n_tensors > 300, "only {n_tensors} tensors were compared");
}
