//! The GGUF reader: a hand-made file, and corrupted variations of it.

use sm_tensor::DType;

use super::*;

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// The parts of a small valid file. Each test varies some of them.
struct Sample {
    version: u32,
    n_tensors: u64,
    n_entries: u64,
    entries: Vec<u8>,
    dims: Vec<u64>,
    type_id: u32,
    offset: u64,
    data_bytes: usize,
}

impl Default for Sample {
    fn default() -> Self {
        let mut entries = Vec::new();
        string(&mut entries, "tokens");
        entries.extend(9u32.to_le_bytes());
        entries.extend(8u32.to_le_bytes());
        entries.extend(2u64.to_le_bytes());
        string(&mut entries, "a");
        string(&mut entries, "β");
        Self {
            version: 3,
            n_tensors: 1,
            n_entries: 1,
            entries,
            dims: vec![4, 2],
            type_id: 0,
            offset: 32,
            data_bytes: 64,
        }
    }
}

impl Sample {
    fn parse(&self) -> Result<Gguf, LoadError> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.to_le_bytes());
        out.extend(self.n_entries.to_le_bytes());
        out.extend(&self.entries);
        string(&mut out, "w");
        out.extend((self.dims.len() as u32).to_le_bytes());
        self.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
        out.extend(self.type_id.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        out.resize(out.len().next_multiple_of(32) + self.data_bytes, 7);
        Gguf::parse(out)
    }

    #[track_caller]
    fn fails_with(&self, expected: &str) {
        let message = self.parse().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn reads_metadata_and_tensors() {
    let gguf = Sample::default().parse().unwrap();
    assert_eq!(gguf.metadata().require::<&[String]>("tokens").unwrap(), ["a", "β"]);
    let tensor = &gguf.tensors()[0];
    assert_eq!((tensor.name.as_str(), &tensor.shape[..], tensor.dtype), ("w", &[2, 4][..], DType::F32));
    assert_eq!(*gguf.tensor_bytes(tensor).unwrap(), [7; 32]);
}

#[test]
fn hostile_counts_and_lengths_are_refused() {
    let sample = Sample::default;
    Sample { n_entries: u64::MAX, ..sample() }
        .fails_with("metadata at byte 24 needs 18446744073709551615 bytes");
    Sample { n_entries: 2, ..sample() }.fails_with("truncated");
    Sample { n_tensors: 1 << 60, ..sample() }.fails_with("the list of tensors");
    let mut long = sample();
    long.entries[..8].copy_from_slice(&(1u64 << 40).to_le_bytes());
    long.fails_with("metadata key at byte 32 needs 1099511627776 bytes");
    let mut array = sample();
    array.entries[22..30].copy_from_slice(&(1u64 << 61).to_le_bytes());
    array.fails_with("tokens at byte 54 needs 18446744073709551615 bytes");
}

#[test]
fn hostile_tensors_are_refused() {
    let sample = Sample::default;
    Sample { version: 1, ..sample() }.fails_with("version 1 is not supported; supported: 2 and 3");
    Sample { type_id: 2, ..sample() }
        .fails_with("its rows of 4 values are not a multiple of the block length 32");
    Sample { dims: vec![1; 5], ..sample() }.fails_with("the rank of tensor \"w\" is 5, expected at most 4");
    Sample { dims: vec![1 << 40, 1 << 40], ..sample() }.fails_with("too many values");
    Sample { offset: 33, ..sample() }.fails_with("the offset of tensor \"w\" is 33");
    Sample { offset: 64, ..sample() }.fails_with("occupies bytes 64..96 of the data, which has only 64");
    Sample { offset: 1 << 63, ..sample() }.fails_with("which has only 64");
    Sample { data_bytes: 63, ..sample() }.fails_with("occupies bytes 32..64 of the data, which has only 63");
}

#[test]
fn tensors_of_other_types_are_converted_or_left_out() {
    let unread = Sample { type_id: 40, ..Sample::default() }.parse().unwrap();
    assert!(unread.tensors().is_empty());
    let (_, tensors, _) = unread.into_parts();
    let [unread] = &tensors.unread[..] else { panic!("{tensors:?}") };
    assert_eq!((unread.name.as_str(), unread.dtype.as_str()), ("w", "ggml type 40"));
    let doubles = Sample { type_id: 28, offset: 0, ..Sample::default() }.parse().unwrap();
    let (_, mut tensors, bytes) = doubles.into_parts();
    let (infos, values) = tensors.convert(&bytes).unwrap();
    assert_eq!((&infos[0].shape[..], infos[0].dtype, values.len()), (&[2, 4][..], DType::F32, 32));
    assert_eq!(values[..4], (f64::from_le_bytes([7; 8]) as f32).to_le_bytes());
    Sample { type_id: 28, ..Sample::default() }.fails_with("occupies bytes 32..96");
}

#[test]
fn names_of_any_length_make_short_messages() {
    let mut long = Sample { entries: Vec::new(), ..Sample::default() };
    string(&mut long.entries, &"k\u{1F600}".repeat(50_000));
    long.entries.extend(99u32.to_le_bytes());
    let message = long.parse().unwrap_err().to_string();
    assert!(message.contains("the value type of \"k") && message.len() < 2000, "{} bytes", message.len());
}

#[test]
fn other_files_and_empty_files_are_refused() {
    assert_eq!(
        Gguf::parse(b"PK\x03\x04".to_vec()).unwrap_err().to_string(),
        "not a GGUF file: it starts with [50, 4b, 03, 04]"
    );
    assert!(
        Gguf::parse(Vec::new())
            .unwrap_err()
            .to_string()
            .contains("magic at byte 0 needs 4 bytes but 0 are left")
    );
}

#[test]
fn reads_a_published_model() {
    let Some(data) = crate::testing::data_dir() else { return };
    let gguf = Gguf::open(&data.join("models/stories260K/hf/stories260K-f32.gguf")).unwrap();
    let tokens: &[String] = gguf.metadata().require("tokenizer.ggml.tokens").unwrap();
    assert_eq!(tokens.len(), 512);
    let table = gguf.tensors().iter().find(|tensor| tensor.name == "token_embd.weight").unwrap();
    assert_eq!((&table.shape[..], table.dtype), (&[512, 64][..], DType::F32));
    assert_eq!(gguf.tensor_bytes(table).unwrap().len(), 512 * 64 * 4);
}
