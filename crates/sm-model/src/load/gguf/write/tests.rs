//! The reader reads back what is written.

use super::*;
use crate::Gguf;

/// A value and an array of every type.
fn metadata() -> Metadata {
    let arrays = [
        Array::U8(vec![1, 255]),
        Array::I8(vec![-1]),
        Array::U16(vec![65535]),
        Array::I16(vec![-2]),
        Array::U32(vec![3]),
        Array::I32(vec![-3]),
        Array::U64(vec![u64::MAX]),
        Array::I64(vec![i64::MIN]),
        Array::F32(vec![0.5, -0.0]),
        Array::F64(vec![1e300]),
        Array::Bool(vec![true, false]),
        Array::String(vec!["▁a".into(), String::new()]),
        Array::Array(vec![Array::U8(vec![]), Array::String(vec!["x".into()])]),
    ];
    let scalars = [
        Value::U8(1),
        Value::I8(-1),
        Value::U16(2),
        Value::I16(-2),
        Value::U32(3),
        Value::I32(-3),
        Value::U64(4),
        Value::I64(-4),
        Value::F32(0.25),
        Value::F64(-0.125),
        Value::Bool(true),
        Value::String("llama".into()),
    ];
    let mut metadata = Metadata::default();
    for value in scalars.into_iter().chain(arrays.map(Value::Array)) {
        metadata.insert(value.type_name(), value);
    }
    metadata
}

fn spec(name: &str, shape: &[usize], dtype: DType) -> TensorSpec {
    TensorSpec { name: name.into(), shape: shape.into(), dtype }
}

#[test]
fn what_is_written_is_read_back() {
    let specs = [
        spec("vector", &[3], DType::F32),
        spec("empty", &[0, 32], DType::Q4_0),
        spec("matrix", &[3, 64], DType::Q4_0),
        spec("experts", &[2, 2, 256], DType::Q6K),
    ];
    for alignment in [32, 64] {
        let mut metadata = metadata();
        metadata.insert("general.alignment", Value::U32(alignment));
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
        let data = [vec![1; 12], vec![], vec![2; 3 * 36], vec![3; 4 * 210]];
        for piece in data.iter().flat_map(|bytes| bytes.chunks(7)) {
            writer.write(piece).unwrap();
        }
        let gguf = Gguf::parse(writer.finish().unwrap()).unwrap();
        assert_eq!(*gguf.metadata(), metadata);
        assert_eq!(gguf.tensors().len(), specs.len());
        for ((tensor, spec), bytes) in gguf.tensors().iter().zip(&specs).zip(&data) {
            assert_eq!((&tensor.name, &tensor.shape, tensor.dtype), (&spec.name, &spec.shape, spec.dtype));
            assert_eq!(*gguf.tensor_bytes(tensor).unwrap(), bytes[..]);
            assert!(tensor.bytes.start.is_multiple_of(alignment as usize));
        }
    }
}

#[test]
fn invalid_shapes_and_alignments_are_refused() {
    let partial = spec("w", &[2, 33], DType::Q8_0);
    let error = GgufWriter::new(Vec::new(), &Metadata::default(), &[partial]).unwrap_err();
    assert!(
        error.to_string().contains("its rows of 33 values are not a multiple of the block length 32"),
        "{error}"
    );
    let mut metadata = Metadata::default();
    metadata.insert("general.alignment", Value::U32(12));
    let error = GgufWriter::new(Vec::new(), &metadata, &[]).unwrap_err();
    assert!(error.to_string().contains("a power of two"), "{error}");
}

#[test]
#[should_panic(expected = "1 tensors are incomplete")]
fn finishing_before_the_last_tensor_panics() {
    let writer = GgufWriter::new(Vec::new(), &Metadata::default(), &[spec("w", &[2], DType::F32)]).unwrap();
    writer.finish().unwrap();
}
