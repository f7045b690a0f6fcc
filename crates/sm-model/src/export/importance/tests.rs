//! Both formats of importance matrices, as llama.cpp writes them, and damaged ones.

use super::*;
use crate::load::gguf::{GgufWriter, TensorSpec};
use crate::metadata::Array;

/// Numbers and texts of the older format.
fn entries(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn i32(value: i32) -> [u8; 4] {
    value.to_le_bytes()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn older() -> Vec<u8> {
    entries(&[
        &i32(2),
        &i32(3),
        b"one",
        &i32(4),
        &i32(2),
        &f32s(&[4.0, 0.0]),
        &i32(3),
        b"two",
        &i32(0),
        &i32(1),
        &f32s(&[0.5]),
        &i32(7),
        &i32(8),
        b"text.txt",
    ])
}

/// A GGUF file with the sums and counts of one tensor.
fn newer(sums: &[f32], counts: &[f32], kind: &str) -> Vec<u8> {
    let mut metadata = Metadata::default();
    metadata.insert("general.type", Value::String(kind.to_owned()));
    metadata.insert("imatrix.datasets", Value::Array(Array::String(vec!["text.txt".to_owned()])));
    metadata.insert("imatrix.chunk_count", Value::U32(7));
    let cols = sums.len() / counts.len();
    let spec = |name: &str, shape: Vec<usize>| TensorSpec {
        name: format!("one.{name}"),
        shape,
        dtype: sm_tensor::DType::F32,
    };
    let specs = [spec("in_sum2", vec![counts.len(), cols]), spec("counts", vec![counts.len(), 1])];
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    writer.write(&f32s(sums)).unwrap();
    writer.write(&f32s(counts)).unwrap();
    writer.finish().unwrap()
}

fn opened(name: &str, bytes: &[u8]) -> Result<ImportanceMatrix, LoadError> {
    let path = std::env::temp_dir().join(format!("sm-importance-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let read = ImportanceMatrix::open(&path);
    std::fs::remove_file(&path).unwrap();
    read
}

#[test]
fn the_older_format_holds_calls_times_means() {
    let matrix = opened("older", &older()).unwrap();
    assert_eq!(matrix.of("one", 1, 2).unwrap(), Some(&[1.0, 0.0][..]));
    assert_eq!(matrix.of("two", 1, 1).unwrap(), Some(&[0.5][..]));
    assert_eq!(matrix.of("three", 1, 1).unwrap(), None);
    let mut metadata = Metadata::default();
    matrix.describe(&mut metadata);
    assert_eq!(metadata.get("quantize.imatrix.dataset").unwrap(), Some("text.txt"));
    assert_eq!(metadata.get("quantize.imatrix.entries_count").unwrap(), Some(2_u32));
    assert_eq!(metadata.get("quantize.imatrix.chunks_count").unwrap(), Some(7_u32));
}

#[test]
fn the_gguf_format_holds_sums_and_counts_of_each_expert() {
    let matrix =
        opened("newer", &newer(&[2.0, 4.0, 6.0, 8.0, 3.0, 3.0], &[2.0, 0.0, 3.0], "imatrix")).unwrap();
    assert_eq!(matrix.of("one", 3, 2).unwrap(), Some(&[1.0, 2.0, 1.0, 1.0, 1.0, 1.0][..]));
    assert_eq!((matrix.datasets.as_slice(), matrix.n_chunks), (&["text.txt".to_owned()][..], Some(7)));
    let message = matrix.of("one", 1, 4).unwrap_err().to_string();
    assert!(message.contains("6 values for one") && message.contains("4 inputs"), "{message}");
}

#[test]
fn files_that_are_no_importance_matrices_are_refused_with_a_reason() {
    let mut negative = older();
    negative[19..23].copy_from_slice(&(-1.0_f32).to_le_bytes());
    let cases = [
        (newer(&[1.0, 1.0], &[1.0], "model"), "llama-imatrix writes them"),
        (newer(&[f32::NAN, 1.0], &[1.0], "imatrix"), "NaN at index 0"),
        (negative, "-0.25 at index 0"),
        (older()[..30].to_vec(), "truncated"),
        (b"hello, world".to_vec(), "truncated"),
        (i32(0).to_vec(), "at least 1"),
    ];
    for (index, (bytes, expected)) in cases.into_iter().enumerate() {
        let message = opened(&format!("bad-{index}"), &bytes).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected:?} is not in: {message}");
    }
}
