//! Damaged files are refused, or load into a valid plan. Nothing panics, and nothing makes us allocate much.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sm_kernels::plan::{Plan, WeightError, WeightSource};
use sm_model::{Gguf, LoadOptions, ModelBytes, Weights, parse_model};

use crate::allocation::largest_within;
use crate::{data_dir, golden_dir, quantized_dir};

/// A change to a file. Positions are fractions of its interesting part.
#[derive(Clone, Debug)]
enum Mutation {
    FlipBit(f64, u8),
    SetByte(f64, u8),
    /// Overwrites eight bytes, such as a length or count.
    SetU64(f64, u64),
    SetU32(f64, u32),
    Truncate(f64),
    Remove(f64, usize),
    Repeat(f64, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0.0..1.0f64;
    let extreme =
        prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(1 << 63), Just(u64::from(u32::MAX)), any::<u64>()];
    let small = prop_oneof![0u32..70, Just(u32::MAX), Just(1 << 31), any::<u32>()];
    prop_oneof![
        4 => (at.clone(), 0..8u8).prop_map(|(at, bit)| Mutation::FlipBit(at, bit)),
        2 => (at.clone(), prop::sample::select(b"0123456789.-e\"".as_slice()))
            .prop_map(|(at, byte)| Mutation::SetByte(at, byte)),
        4 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::SetByte(at, byte)),
        2 => (at.clone(), extreme).prop_map(|(at, value)| Mutation::SetU64(at, value)),
        2 => (at.clone(), small).prop_map(|(at, value)| Mutation::SetU32(at, value)),
        1 => at.clone().prop_map(Mutation::Truncate),
        1 => (at.clone(), 1..40usize).prop_map(|(at, len)| Mutation::Remove(at, len)),
        1 => (at, 1..40usize).prop_map(|(at, len)| Mutation::Repeat(at, len)),
    ]
}

/// Applies a mutation to the first `interesting` bytes.
fn mutate(bytes: &mut Vec<u8>, interesting: usize, mutation: &Mutation) {
    let interesting = interesting.min(bytes.len());
    if interesting == 0 {
        return;
    }
    let offset = |at: f64| ((interesting as f64 * at) as usize).min(interesting - 1);
    let overwrite = |bytes: &mut Vec<u8>, at: f64, value: &[u8]| {
        let start = offset(at);
        let len = value.len().min(bytes.len() - start);
        bytes[start..start + len].copy_from_slice(&value[..len]);
    };
    match *mutation {
        Mutation::FlipBit(at, bit) => bytes[offset(at)] ^= 1 << bit,
        Mutation::SetByte(at, byte) => bytes[offset(at)] = byte,
        Mutation::SetU64(at, value) => overwrite(bytes, at, &value.to_le_bytes()),
        Mutation::SetU32(at, value) => overwrite(bytes, at, &value.to_le_bytes()),
        Mutation::Truncate(at) => bytes.truncate(offset(at)),
        Mutation::Remove(at, len) => {
            let start = offset(at);
            bytes.drain(start..(start + len).min(bytes.len()));
        }
        Mutation::Repeat(at, len) => {
            let start = offset(at);
            let piece = bytes[start..(start + len).min(bytes.len())].to_vec();
            bytes.splice(start..start, piece);
        }
    }
}

/// Reads the first and last row of every matrix, and every vector. Values that are converted as they are read, such as those
/// of F64, may be refused.
fn read_some(plan: &Plan, weights: &Weights) {
    for part in plan.matrices.iter().flat_map(|matrix| &matrix.parts) {
        is_read(weights.matrix_rows(&part.tensor, 0..1, &mut Vec::new()));
        is_read(weights.matrix_rows(&part.tensor, part.rows - 1..part.rows, &mut Vec::new()));
        assert!(weights.matrix_rows(&part.tensor, 0..part.rows + 1, &mut Vec::new()).is_err());
    }
    for vector in &plan.vectors {
        let parts: Vec<_> = vector.parts.iter().map(|part| is_read(weights.vector(part))).collect();
        if let Some(parts) = parts.into_iter().collect::<Option<Vec<_>>>() {
            assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), vector.len);
        }
    }
}

/// What was read, or `None` if the values were refused.
fn is_read<T>(result: Result<T, WeightError>) -> Option<T> {
    match result {
        Ok(read) => Some(read),
        Err(WeightError::Unreadable { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn check(n_cases: u32, interesting: usize, original: &[u8], to_model: impl Fn(Vec<u8>) -> ModelBytes) {
    let mut runner =
        TestRunner::new(Config { cases: n_cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&prop::collection::vec(mutation(), 1..4), |mutations| {
        let mut bytes = original.to_vec();
        mutations.iter().for_each(|mutation| mutate(&mut bytes, interesting, mutation));
        let limit = (1 << 20) + 4 * bytes.len();
        let model_bytes = to_model(bytes);
        let largest = largest_within(|| {
            if let Ok(model) = parse_model(model_bytes, &LoadOptions::default()) {
                model.plan.validate().unwrap();
                read_some(&model.plan, &model.weights);
            }
        });
        prop_assert!(largest <= limit, "a block of {largest} bytes was allocated");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Bytes of a GGUF file before its data.
fn gguf_header_len(bytes: &[u8]) -> usize {
    let file = Gguf::parse(bytes.to_vec()).unwrap();
    file.tensors().iter().map(|tensor| tensor.bytes.start).min().unwrap()
}

#[test]
fn damaged_gguf_files_are_refused_or_valid() {
    for name in ["llama-gqa", "gemma3", "qwen3-moe", "phi3-longrope-gguf", "gpt2"] {
        let bytes = read(&golden_dir().join(name).join("model.gguf"));
        check(1000, gguf_header_len(&bytes), &bytes, |bytes| ModelBytes::Gguf(bytes.into()));
    }
    let Some(data) = data_dir() else { return };
    let bytes = read(&data.join("models/stories260K/hf/stories260K-f32.gguf"));
    check(500, gguf_header_len(&bytes), &bytes, |bytes| ModelBytes::Gguf(bytes.into()));
}

#[test]
fn damaged_safetensors_are_refused_or_valid() {
    for name in ["gemma2", "mixtral", "phi3", "qwen2"] {
        let dir = golden_dir().join(name);
        let (config, tensors) = (read(&dir.join("config.json")), read(&dir.join("model.safetensors")));
        let header_len = u64::from_le_bytes(tensors[..8].try_into().unwrap()) as usize;
        let to_model = |tensors| ModelBytes::Directory { config: config.clone(), tensors };
        check(700, 8 + header_len, &tensors, to_model);
    }
}

#[test]
fn damaged_quantized_checkpoints_are_refused_or_valid() {
    for entry in quantized_dir().read_dir().unwrap() {
        let dir = entry.unwrap().path();
        let (config, tensors) = (read(&dir.join("config.json")), read(&dir.join("model.safetensors")));
        let header_len = u64::from_le_bytes(tensors[..8].try_into().unwrap()) as usize;
        let of_tensors = |tensors| ModelBytes::Directory { config: config.clone(), tensors };
        check(400, 8 + header_len, &tensors, of_tensors);
        let of_config = |config| ModelBytes::Directory { config, tensors: tensors.clone() };
        check(400, config.len(), &config, of_config);
    }
}

#[test]
fn damaged_configurations_are_refused_or_valid() {
    for name in
        ["gemma3-linear-rope", "qwen2-window-yarn", "phi3-longrope", "llama3-rope", "gpt2", "qwen3-moe"]
    {
        let dir = golden_dir().join(name);
        let (config, tensors) = (read(&dir.join("config.json")), read(&dir.join("model.safetensors")));
        let to_model = |config| ModelBytes::Directory { config, tensors: tensors.clone() };
        check(500, config.len(), &config, to_model);
    }
}

#[test]
fn damaged_checkpoints_are_refused_or_valid() {
    let Some(data) = data_dir() else { return };
    for name in ["demo-model", "classification-general"] {
        let bytes = read(&data.join("models/smnd").join(name).with_extension("smnd"));
        check(500, 400, &bytes, ModelBytes::Smnd);
        check(200, bytes.len(), &bytes, ModelBytes::Smnd);
    }
}
