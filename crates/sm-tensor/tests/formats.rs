//! Block formats against the Python package `gguf` and ggml's quantizers.
//!
//! `xtask/golden/formats.py` writes and describes the files under `data/`.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

use proptest::prelude::*;
use sm_tensor::{DType, IndexedBlock, QuantizeError, ShapeError, dequantize, quantize, quantize_important};
use std::fs;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn read_bytes(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn read_f32(name: &str) -> Vec<f32> {
    read_bytes(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The words of each line of a text file.
fn read_lines(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    text.lines().map(|line| line.split_whitespace().map(String::from).collect()).collect()
}

/// Name and values of each distribution.
fn distributions() -> Vec<(String, Vec<f32>)> {
    let values = read_f32("values.f32");
    let number = |word: &String| word.parse::<usize>().unwrap();
    let cut = |line: &Vec<String>| values[number(&line[1])..][..number(&line[2])].to_vec();
    read_lines("distributions.txt").iter().map(|line| (line[0].clone(), cut(line))).collect()
}

fn quantized(dtype: DType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; dtype.row_bytes(values.len()).unwrap()];
    quantize(dtype, values, &mut bytes).unwrap();
    bytes
}

fn dequantized(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    dequantize(dtype, bytes, &mut values).unwrap();
    values
}

fn root_mean_square_error(values: &[f32], others: &[f32]) -> f64 {
    let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
    (values.iter().zip(others).map(square).sum::<f64>() / values.len() as f64).sqrt()
}

fn writable() -> impl Iterator<Item = DType> {
    DType::all().filter(|dtype| dtype.is_writable())
}

#[test]
fn dequantizes_bit_identically_to_gguf() {
    for dtype in DType::all().filter(|dtype| *dtype != DType::F32) {
        let values = dequantized(dtype, &read_bytes(&format!("{dtype}.blocks.bin")));
        let expected = read_f32(&format!("{dtype}.expanded.f32"));
        assert_eq!(values.len(), expected.len(), "{dtype}");
        for (index, (value, expected)) in values.iter().zip(&expected).enumerate() {
            let same = value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan();
            assert!(same, "{dtype} value {index}: {value:e} instead of {expected:e}");
        }
    }
}

#[test]
fn quantizes_to_the_same_bytes_as_gguf() {
    let floats = [DType::F16, DType::Bf16];
    let blocks = [DType::Q8_0, DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Mxfp4];
    let few_values = [DType::Tq2_0, DType::Tq1_0, DType::Q1_0];
    let dtypes = [&floats[..], &blocks, &few_values].concat();
    for dtype in dtypes {
        let expected = read_bytes(&format!("{dtype}.quantized.bin"));
        let mut expected = expected.as_slice();
        for (name, values) in distributions() {
            let bytes = quantized(dtype, &values);
            let (wanted, rest) = expected.split_at(bytes.len());
            expected = rest;
            let blocks = bytes.chunks(dtype.block_bytes()).zip(wanted.chunks(dtype.block_bytes()));
            for (index, (block, wanted)) in blocks.enumerate() {
                assert_eq!(block, wanted, "{dtype}, block {index} of {name}");
            }
        }
        assert!(expected.is_empty());
    }
}

#[test]
fn quantizes_with_at_most_1_02_times_the_error_of_ggml() {
    let distributions = distributions();
    let mut failures = Vec::new();
    for line in read_lines("rmse.txt") {
        let dtype = line[0].parse::<DType>().unwrap();
        let (name, values) = distributions.iter().find(|(name, _)| *name == line[1]).unwrap();
        let reference = line[2].parse::<f64>().unwrap();
        let error = root_mean_square_error(values, &dequantized(dtype, &quantized(dtype, values)));
        println!("{dtype} {name}: {:.4} of ggml's {reference:e}", error / reference);
        // In a block of one repeated value the only error is the rounding of the scale to f16, which
        // two equally good searches may or may not hit.
        let luck = if name == "constants" {
            root_mean_square_error(values, &vec![0.0; values.len()]) / 2048.0
        } else {
            0.0
        };
        if error > 1.02 * reference + luck {
            failures.push(format!("{dtype} {name}: {error:e} against {reference:e}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The root of the mean of square errors weighted by the importance of their columns.
fn weighted_error(values: &[f32], others: &[f32], importance: &[f32]) -> f64 {
    let weights = importance.iter().cycle().map(|&weight| f64::from(weight));
    let errors = values.iter().zip(others).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
    let sum: f64 = errors.zip(weights.clone()).map(|(error, weight)| error * weight).sum();
    (sum / weights.take(values.len()).sum::<f64>()).sqrt()
}

#[test]
fn important_columns_are_quantized_with_at_most_1_05_times_the_weighted_error_of_ggml() {
    let distributions = distributions();
    let importance = read_f32("importance.f32");
    let mut failures = Vec::new();
    // Any code fits a block of one repeated value; whether its scale rounds well is luck.
    for line in read_lines("important_rmse.txt").into_iter().filter(|line| line[1] != "constants") {
        let dtype = line[0].parse::<DType>().unwrap();
        let (name, values) = distributions.iter().find(|(name, _)| *name == line[1]).unwrap();
        let reference = line[2].parse::<f64>().unwrap();
        let mut bytes = vec![0; dtype.row_bytes(values.len()).unwrap()];
        quantize_important(dtype, values, &importance, &mut bytes).unwrap();
        let error = weighted_error(values, &dequantized(dtype, &bytes), &importance);
        println!("{dtype} {name}: {:.4} of ggml's {reference:e}", error / reference);
        if error > 1.05 * reference {
            failures.push(format!("{dtype} {name}: {error:e} against {reference:e}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn rows_quantize_back_to_back() {
    let (_, values) = distributions().swap_remove(0);
    for dtype in writable() {
        let rows: Vec<u8> = values.chunks(256).flat_map(|row| quantized(dtype, row)).collect();
        assert_eq!(rows, quantized(dtype, &values), "{dtype}");
    }
}

#[test]
fn rejects_values_a_format_cannot_represent() {
    for dtype in writable() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 2048];
            values[1500] = bad;
            let mut bytes = vec![7; dtype.row_bytes(2048).unwrap()];
            let error = quantize(dtype, &values, &mut bytes).unwrap_err();
            assert!(matches!(error, QuantizeError::OutOfRange { index: 1500, .. }), "{dtype}: {error}");
            assert!(bytes.iter().all(|byte| *byte == 7), "{dtype} wrote part of the output");
        }
    }
    let error = quantize(DType::F16, &[0.0, 65505.0], &mut [0; 4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "value 65505 at index 1 cannot be stored as f16, which takes finite values up to ±65504"
    );
}

#[test]
fn types_without_quantizer_say_which_have_one() {
    let read_only: Vec<_> = DType::all().filter(|dtype| !dtype.is_writable()).collect();
    let names = ["iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s"];
    assert_eq!(read_only.iter().map(|dtype| dtype.name()).collect::<Vec<_>>(), names);
    for dtype in read_only {
        let error = quantize(dtype, &[0.0; 256], &mut vec![7; dtype.block_bytes()]).unwrap_err();
        assert_eq!(error, QuantizeError::NotWritable { dtype });
        let message = error.to_string();
        assert!(message.starts_with(&format!("{dtype} can be read but not written")), "{message}");
        assert!(message.contains("iq4_xs") && !message.contains("iq3_xxs, "), "{message}");
    }
}

/// What a backend computes from an unpacked block is what [`dequantize`] gives.
#[test]
fn indexed_blocks_unpack_to_the_same_values() {
    for dtype in DType::all() {
        let Some(format) = dtype.indexed() else { continue };
        let bytes = read_bytes(&format!("{dtype}.blocks.bin"));
        let mut block = IndexedBlock::default();
        for bytes in bytes.chunks(dtype.block_bytes()) {
            format.unpack(bytes, &mut block);
            assert!(block.indices.iter().all(|index| *index < 16), "{dtype}");
            let scale = |i: usize| format.unit * block.d.to_f32() * f32::from(block.scales[i / 16]);
            let value = |i: usize| scale(i) * f32::from(format.table[usize::from(block.indices[i])]);
            for (i, expected) in dequantized(dtype, bytes).into_iter().enumerate() {
                let same = value(i).to_bits() == expected.to_bits() || value(i).is_nan() && expected.is_nan();
                assert!(same, "{dtype} value {i}: {} instead of {expected}", value(i));
            }
        }
    }
}

#[test]
fn rejects_mismatched_sizes() {
    for dtype in DType::all() {
        let len = 2 * dtype.block_len();
        let size = 2 * dtype.block_bytes();
        for wrong in [0, size - 1, size + 1, size + dtype.block_bytes()] {
            let error = dequantize(dtype, &vec![0; wrong], &mut vec![0.0; len]).unwrap_err();
            let expected = ShapeError::ByteCount { dtype, rows: 1, cols: len, expected: size, actual: wrong };
            assert_eq!(error, expected);
            let error = quantize(dtype, &vec![0.0; len], &mut vec![0; wrong]).unwrap_err();
            assert_eq!(error, QuantizeError::Shape(expected));
        }
        if dtype.is_quantized() {
            let error = dequantize(dtype, &vec![0; size], &mut vec![0.0; len - 1]).unwrap_err();
            assert_eq!(error, ShapeError::PartialBlock { dtype, cols: len - 1 });
        }
    }
}

/// Largest error of a round trip as a fraction of the range: half a step between codes plus the
/// rounding of the scale to f16, where the format spans the values exactly.
const BOUNDS: [(DType, f32); 19] = [
    (DType::F32, 0.0),
    (DType::F16, 1.0 / 2048.0),
    (DType::Bf16, 1.0 / 256.0),
    (DType::Q8_0, 0.57 / 127.0),
    (DType::Q4_0, 1.01 / 8.0),
    (DType::Q4_1, 1.03 / 15.0),
    (DType::Q5_0, 1.01 / 16.0),
    (DType::Q5_1, 1.03 / 31.0),
    (DType::Q2K, 0.7),
    (DType::Q3K, 0.4),
    (DType::Q4K, 0.2),
    (DType::Q5K, 0.1),
    (DType::Q6K, 0.06),
    (DType::Iq4Nl, 0.2),
    (DType::Iq4Xs, 0.2),
    (DType::Mxfp4, 0.26),
    (DType::Tq2_0, 0.51),
    (DType::Tq1_0, 0.51),
    (DType::Q1_0, 1.01),
];

proptest! {
    #[test]
    fn round_trip_error_is_within_the_bound_of_the_format(
        values in prop::collection::vec(-1.0_f32..1.0, 256),
        exponent in 0_i32..4,
    ) {
        let range = 10_f32.powi(exponent);
        let values: Vec<f32> = values.iter().map(|value| value * range).collect();
        for (dtype, bound) in BOUNDS {
            let back = dequantized(dtype, &quantized(dtype, &values));
            let limit = bound * range;
            for (value, back) in values.iter().zip(&back) {
                prop_assert!((value - back).abs() <= limit, "{dtype}: {value} became {back}");
            }
        }
    }

    #[test]
    fn any_bytes_dequantize(bytes in prop::collection::vec(any::<u8>(), 210 * 2)) {
        for dtype in DType::all() {
            let n_blocks = bytes.len() / dtype.block_bytes();
            let values = dequantized(dtype, &bytes[..n_blocks * dtype.block_bytes()]);
            prop_assert_eq!(values.len(), n_blocks * dtype.block_len());
        }
    }

    #[test]
    fn any_finite_values_quantize_to_finite_values(bits in prop::collection::vec(any::<u32>(), 256)) {
        let values: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).map(clip).collect();
        for dtype in writable() {
            let back = dequantized(dtype, &quantized(dtype, &values));
            prop_assert!(back.iter().all(|value| value.is_finite()), "{dtype}: {values:?} became {back:?}");
        }
    }
}

/// Clamps to the range that every format can represent.
fn clip(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(-65504.0, 65504.0) }
}
