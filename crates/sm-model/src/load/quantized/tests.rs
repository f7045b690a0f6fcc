//! Quantized checkpoints: the values that Python packed, the order of bits, and files that are wrong.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sm_tensor::dequantize;

use super::*;
use crate::load::tensors::Tensors;

fn golden(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quantized").join(folder);
    let mut dirs: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    dirs
}

/// The tensors of a golden directory, which need not be a whole model.
fn open(dir: &Path) -> Tensors {
    let config = Config::open(&dir.join("config.json")).unwrap();
    let quantization = Quantization::of(&config).unwrap();
    Tensors::open_safetensors(dir, Some(&quantization)).unwrap_or_else(|error| panic!("{error}"))
}

fn values(tensors: &Tensors, name: &str) -> Vec<f32> {
    let index = tensors.position(name).unwrap_or_else(|| panic!("no tensor {name}"));
    let info = &tensors.infos()[index];
    let mut values = vec![0.0; info.n_values()];
    dequantize(info.dtype, &tensors.bytes(index).unwrap(), &mut values).unwrap();
    values
}

#[test]
fn matrices_have_the_values_that_were_packed() {
    let mut n_matrices = 0;
    for dir in golden("matrices") {
        let tensors = open(&dir);
        let dtypes: Map<String, Value> =
            serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
        let expected = std::fs::read(dir.join("expected.safetensors")).unwrap();
        let expected = safetensors::SafeTensors::deserialize(&expected).unwrap();
        assert_eq!(expected.len(), dtypes.len());
        for (name, view) in expected.tensors() {
            let case = format!("{} {name}", dir.display());
            let found = &tensors.infos()[tensors.position(&name).unwrap()];
            assert_eq!(found.shape, view.shape(), "{case}");
            assert_eq!(dtypes[&name], found.dtype.name(), "{case}");
            let bits: Vec<u32> = values(&tensors, &name).into_iter().map(f32::to_bits).collect();
            let stored = view.data().as_chunks::<4>().0.iter();
            assert!(bits.iter().copied().eq(stored.map(|&value| u32::from_le_bytes(value))), "{case}");
            n_matrices += 1;
        }
    }
    assert!(n_matrices > 40, "only {n_matrices} matrices were compared");
}

#[test]
fn rows_of_matrices_can_be_read_in_any_pieces() {
    for dir in golden("matrices") {
        let tensors = open(&dir);
        for (index, info) in tensors.infos().iter().enumerate() {
            if tensors.quantized(index).is_none() {
                continue;
            }
            let whole = tensors.bytes(index).unwrap();
            let row_bytes = whole.len() / info.n_rows();
            let mut buffer = vec![0xFF; 3];
            for rows in [0..1, 0..info.n_rows() / 2, info.n_rows() / 3..info.n_rows(), 2..2] {
                let expected = &whole[rows.start * row_bytes..rows.end * row_bytes];
                assert_eq!(
                    tensors.read_rows(index, rows, &mut buffer).unwrap(),
                    expected,
                    "{}",
                    dir.display()
                );
            }
            tensors.release(index);
            assert_eq!(tensors.bytes(index).unwrap(), whole);
        }
    }
}

#[test]
fn what_is_rounded_or_left_out_is_noted() {
    let notes = |case: &str| -> Vec<String> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quantized/matrices").join(case);
        open(&dir).notes().iter().map(ToString::to_string).collect()
    };
    assert_eq!(notes("gptq-symmetric"), [""; 0]);
    assert_eq!(notes("mlx-5-bit"), [""; 0]);
    let rounded = "2 of 2 quantized matrices (gptq 8-bit, groups of 32) became f16, each value rounded once: no block format";
    assert!(notes("gptq-8-bit-asymmetric")[0].starts_with(rounded));
    let order = "1 of 1 quantized matrices (gptq 4-bit, groups of 32) became bf16, each value rounded once: act-order";
    assert!(notes("gptq-act-order")[0].starts_with(order));
    let unsaid =
        "1 matrices have the zero points of checkpoint_format gptq_v2, though the configuration says gptq";
    assert_eq!(notes("gptq-v2-unsaid"), [unsaid]);
    let activations = "quantized activations; here they keep their precision, and 1 scales are not used";
    assert!(
        notes("fp8-tensors").iter().any(|note| note.ends_with(activations)),
        "{:?}",
        notes("fp8-tensors")
    );
    assert!(notes("ct-int8").iter().any(|note| note.contains("quantized activations")));
}

/// A tensor of a safetensors file.
struct Raw {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn raw(name: &str, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Raw {
    Raw { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
}

/// Zeros of `value_bytes` each.
fn zeros(name: &str, dtype: &'static str, shape: &[usize], value_bytes: usize) -> Raw {
    raw(name, dtype, shape, vec![0; shape.iter().product::<usize>() * value_bytes])
}

fn file(tensors: &[Raw]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data = Vec::new();
    for Raw { name, dtype, shape, bytes } in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn load(config: &Value, tensors: &[Raw]) -> Result<Tensors, LoadError> {
    let config = Config::parse(config.to_string().as_bytes())?;
    Tensors::parse_safetensors(file(tensors), &Quantization::of(&config)?)
}

#[track_caller]
fn fails_with(config: &Value, tensors: &[Raw], expected: &str) {
    let message = load(config, tensors).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

fn gptq(settings: &Value) -> Value {
    let mut all = json!({"quant_method": "gptq", "bits": 4, "group_size": 32});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    json!({ "quantization_config": all })
}

/// The module `m` of GPTQ, `[16, 64]`.
fn gptq_module() -> Vec<Raw> {
    vec![
        zeros("m.qweight", "I32", &[8, 16], 4),
        zeros("m.qzeros", "I32", &[2, 2], 4),
        zeros("m.scales", "F16", &[2, 16], 2),
        raw("m.g_idx", "I32", &[64], (0..64i32).flat_map(|column| (column / 32).to_le_bytes()).collect()),
    ]
}

#[test]
fn settings_that_are_not_supported_are_named() {
    let config = |method: &str| json!({"quantization_config": {"quant_method": method}});
    fails_with(
        &config("bitsandbytes"),
        &[],
        "\"quant_method\" = \"bitsandbytes\" is not supported: supported: fp8, gptq",
    );
    fails_with(&config("bitsandbytes"), &[], "use a GGUF file, or the unquantized model with --quant");
    fails_with(&gptq(&json!({"bits": 3})), &[], "\"bits\" = 3 is not supported: supported: 4, 8");
    fails_with(&gptq(&json!({"group_size": 0})), &[], "\"group_size\" = 0 is not supported");
    fails_with(&gptq(&json!({"group_size": null})), &[], "\"group_size\" is missing");
    fails_with(&gptq(&json!({"checkpoint_format": "marlin"})), &[], "supported: gptq, gptq_v2");
    fails_with(&gptq(&json!({"is_marlin_format": true})), &[], "made for GPUs");
    fails_with(&gptq(&json!({"dynamic": {"-:lm_head": {}}})), &[], "\"dynamic\" = -:lm_head");
    let awq = json!({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"}});
    fails_with(&awq, &[], "\"version\" = \"gemv\" is not supported: supported: \"gemm\"");
    let nvfp4 = json!({"quantization_config": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}});
    fails_with(
        &nvfp4,
        &[],
        "\"format\" = \"nvfp4-pack-quantized\" is not supported: supported: pack-quantized",
    );
    fails_with(
        &json!({"quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}}),
        &[],
        "supported: \"affine\"",
    );
    fails_with(&json!({"quantization": {"bits": 7, "group_size": 32}}), &[], "\"bits\" = 7");
    let blocks = json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 0]}});
    fails_with(&blocks, &[], "expected two positive numbers");
}

#[test]
fn configuration_and_files_must_agree() {
    let plain = || zeros("m.weight", "F16", &[16, 64], 2);
    fails_with(
        &gptq(&json!({})),
        &[plain()],
        "none of the 1 tensors is quantized; if they were converted back, remove",
    );
    fails_with(
        &json!({}),
        &gptq_module(),
        "\"m.qweight\": it is stored as I32, but config.json has no \"quantization_config\"",
    );
    let excluding = gptq(&json!({"modules_to_not_convert": ["other", "m"]}));
    fails_with(
        &excluding,
        &gptq_module(),
        "\"m\" is not supported: it is listed as not quantized, but 1 of the 1 quantized",
    );
    load(&gptq(&json!({"modules_to_not_convert": ["mm", "n"]})), &gptq_module()).unwrap();
    let mlx = json!({"quantization": {"bits": 4, "group_size": 32, "m": false}});
    fails_with(
        &mlx,
        &[zeros("m.scales", "F16", &[4, 2], 2)],
        "the configuration says that its module is not quantized",
    );
    // A directory that is not quantized may still have bytes and counters in it.
    let tensors =
        load(&json!({}), &[plain(), zeros("n", "I8", &[4], 1), zeros("o", "I64", &[1], 8)]).unwrap();
    assert_eq!(values(&tensors, "n"), [0.0; 4]);
    assert_eq!(tensors.unread("o"), Some("I64"));
}

#[test]
fn incomplete_or_misshapen_gptq_matrices_are_refused() {
    let check = |change: &dyn Fn(&mut Vec<Raw>), expected: &str| {
        let mut module = gptq_module();
        change(&mut module);
        fails_with(&gptq(&json!({})), &module, expected);
    };
    check(&|m| drop(m.remove(2)), "\"m.qweight\": there is no tensor \"scales\" beside it");
    check(&|m| drop(m.remove(1)), "there is no tensor \"qzeros\" beside it");
    check(&|m| m[0] = zeros("m.qweight", "I32", &[16], 4), "it has shape [16], expected a matrix");
    check(&|m| m[0] = zeros("m.qweight", "I32", &[0, 16], 4), "it has shape [0, 16], expected a matrix");
    check(&|m| m[0] = zeros("m.qweight", "F32", &[8, 16], 4), "it is stored as F32, expected I32 or U32");
    check(
        &|m| m[0] = zeros("m.qweight", "I32", &[9, 16], 4),
        "groups of 32 do not divide its rows of 72 values",
    );
    check(
        &|m| m[1] = zeros("m.qzeros", "I32", &[2, 3], 4),
        "\"m.qzeros\": it has shape [2, 3] but the other tensors of its matrix imply [2, 2]",
    );
    check(
        &|m| m[2] = zeros("m.scales", "F16", &[16, 2], 2),
        "it has shape [16, 2] but the other tensors of its matrix imply [2, 16]",
    );
    check(
        &|m| m[2] = zeros("m.scales", "I32", &[2, 16], 4),
        "it is stored as I32, expected F32, F16 or BF16",
    );
    check(&|m| m[2] = zeros("m.scales", "U8", &[2, 16], 1), "\"m.scales\" is stored as U8");
    check(
        &|m| m[3] = zeros("m.g_idx", "I32", &[63], 4),
        "it has shape [63] but the other tensors of its matrix imply [64]",
    );
    let out_of_range =
        |group: i32| move |m: &mut Vec<Raw>| m[3].bytes[12..16].copy_from_slice(&group.to_le_bytes());
    check(&out_of_range(2), "\"m.g_idx\": column 3 is in group 2, but there are 2 groups");
    check(&out_of_range(-7), "column 3 is in group -7, but there are 2 groups");
    // Rows that are not whole words of zero points cannot be packed.
    let narrow = [
        zeros("m.qweight", "I32", &[8, 3], 4),
        zeros("m.qzeros", "I32", &[2, 0], 4),
        zeros("m.scales", "F16", &[2, 3], 2),
    ];
    fails_with(
        &gptq(&json!({})),
        &narrow,
        "it has shape [2, 0] but the other tensors of its matrix imply [2, 1]",
    );
}

#[test]
fn incomplete_or_misshapen_matrices_of_other_methods_are_refused() {
    let fp8 = json!({"quantization_config": {"quant_method": "fp8"}});
    let weight = || zeros("m.weight", "F8_E4M3", &[16, 64], 1);
    fails_with(&fp8, &[weight()], "\"m.weight\": there is no tensor \"weight_scale\" beside it");
    fails_with(
        &fp8,
        &[weight(), zeros("m.weight_scale", "F32", &[15], 4)],
        "expected one value, or one for each of the 16 rows",
    );
    let blocks = json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [8, 32]}});
    let scales = zeros("m.weight_scale_inv", "F32", &[1, 2], 4);
    fails_with(
        &blocks,
        &[weight(), scales],
        "it has shape [1, 2] but the other tensors of its matrix imply [2, 2]",
    );

    let mlx = json!({"quantization": {"bits": 4, "group_size": 32}});
    let words = || zeros("m.weight", "U32", &[4, 8], 4);
    let grid = |name: &str, n_groups: usize| zeros(name, "F16", &[4, n_groups], 2);
    fails_with(&mlx, &[words(), grid("m.scales", 2)], "there is no tensor \"biases\" beside it");
    fails_with(
        &mlx,
        &[words(), grid("m.scales", 3), grid("m.biases", 3)],
        "with 4 bits and 3 groups of 32 a row of words has 384 / 32",
    );
    fails_with(&mlx, &[words(), grid("m.scales", 2), grid("m.biases", 1)], "it has shape [4, 1]");

    let awq = json!({"quantization_config": {"quant_method": "awq", "w_bit": 4, "q_group_size": 32}});
    let module = [
        zeros("m.qweight", "I32", &[64, 2], 4),
        zeros("m.qzeros", "I32", &[2, 1], 4),
        zeros("m.scales", "F16", &[2, 16], 2),
    ];
    fails_with(
        &awq,
        &module,
        "\"m.qzeros\": it has shape [2, 1] but the other tensors of its matrix imply [2, 2]",
    );
}

#[test]
fn incomplete_or_misshapen_compressed_tensors_are_refused() {
    let config = |weights: Value| {
        let groups = json!({"group_0": {"targets": ["Linear"], "weights": weights}});
        json!({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": groups}})
    };
    let int4 = config(json!({"num_bits": 4, "strategy": "group", "group_size": 32}));
    let packed = || zeros("m.weight_packed", "I32", &[16, 8], 4);
    let shape = |shape: [i64; 2]| raw("m.weight_shape", "I64", &[2], shape.map(i64::to_le_bytes).concat());
    let scale = |n_groups: usize| zeros("m.weight_scale", "F16", &[16, n_groups], 2);
    load(&int4, &[packed(), shape([16, 64]), scale(2)]).unwrap();
    fails_with(&int4, &[packed(), scale(2)], "there is no tensor \"weight_shape\" beside it");
    fails_with(&int4, &[packed(), shape([15, 64]), scale(2)], "it says [15, 64] for 16 rows of packed codes");
    fails_with(&int4, &[packed(), shape([16, -64]), scale(2)], "it says [16, -64]");
    let fits_none = "for a matrix of [16, 64] with scales [16, 1], it fits none of the configuration's groups: int4, groups of 32";
    fails_with(&int4, &[packed(), shape([16, 64]), scale(1)], fits_none);
    fails_with(&int4, &[packed(), shape([16, 96]), scale(3)], "it fits none");
    let asymmetric =
        config(json!({"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": false}));
    fails_with(
        &asymmetric,
        &[packed(), shape([16, 64]), scale(2)],
        "asymmetric, but there is no \"weight_zero_point\"",
    );
    fails_with(
        &config(json!({"num_bits": 4, "strategy": "group", "group_size": 0})),
        &[],
        "\"strategy\" = \"group\"",
    );
    fails_with(
        &config(json!({"num_bits": 4, "type": "float"})),
        &[],
        "\"num_bits\" = 4 is not supported: supported: 8",
    );
    fails_with(&config(json!({"num_bits": 8, "strategy": "token"})), &[], "\"strategy\" = \"token\"");
}

#[test]
fn nan_and_infinite_values_are_an_error_of_who_reads_them() {
    let fp8 = json!({"quantization_config": {"quant_method": "fp8"}});
    let mut weight = zeros("m.weight", "F8_E4M3", &[2, 4], 1);
    weight.bytes[5] = 0x7F;
    let scale = raw("m.weight_scale", "F32", &[], 1.0f32.to_le_bytes().to_vec());
    let tensors = load(&fp8, &[weight, scale]).unwrap();
    let message = tensors.bytes(0).unwrap_err().to_string();
    assert!(message.contains("value NaN at index 5 cannot be stored as bf16"), "{message}");
    tensors.read_rows(0, 0..1, &mut Vec::new()).unwrap();
}

#[test]
fn zero_biases_that_autogptq_adds_are_recognised() {
    let mut module = gptq_module();
    module.push(zeros("m.bias", "F16", &[16], 2));
    module.push(raw("n.bias", "F16", &[1], vec![0, 0]));
    let tensors = load(&gptq(&json!({})), &module).unwrap();
    let is_empty = |name: &str| tensors.is_empty_bias(tensors.position(name).unwrap());
    assert!(is_empty("m.bias") && !is_empty("n.bias") && !is_empty("m.weight"));
    module[4].bytes[3] = 0x3C;
    let tensors = load(&gptq(&json!({})), &module).unwrap();
    assert!(!tensors.is_empty_bias(tensors.position("m.bias").unwrap()));
}

/// Little-endian words.
fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

proptest! {
    /// Codes are packed here by the loop of AutoAWQ, and read one by one, in rows and in columns.
    #[test]
    fn codes_of_awq_come_back(codes in prop::collection::vec(0..16u32, 3 * 16)) {
        let order_map = [0, 2, 4, 6, 1, 3, 5, 7];
        let words: Vec<u32> = codes
            .chunks(8)
            .map(|eight| (0..8).fold(0, |word, i| word | eight[order_map[i]] << (4 * i)))
            .collect();
        let part = part_of(raw("p", "I32", &[3, 2], to_bytes(&words)));
        let unpacked = codes::Codes::new(part, 4, [3, 16], codes::Packing::LastAwq).unwrap();
        check_codes(unpacked, &codes, 16);
    }

    /// Codes are packed here as one stream of bits.
    #[test]
    fn codes_along_rows_come_back(bits in 2..=8usize, n_cols in 1..40usize, seed in any::<u32>()) {
        let codes: Vec<u32> = random(seed, 3 * n_cols, bits);
        let words: Vec<u32> = codes.chunks(n_cols).flat_map(|row| packed(row, bits)).collect();
        let part = part_of(raw("p", "U32", &[3, (n_cols * bits).div_ceil(32)], to_bytes(&words)));
        let unpacked = codes::Codes::new(part, bits, [3, n_cols], codes::Packing::Last).unwrap();
        let bytes: Vec<u8> = codes.iter().map(|&code| code as u8).collect();
        prop_assert_eq!(&unpacked.rows(0..3).unwrap()[..], &bytes[..]);
        prop_assert_eq!(&unpacked.rows(1..2).unwrap()[..], &bytes[n_cols..2 * n_cols]);
        check_codes(unpacked, &codes, n_cols);
    }

    #[test]
    fn codes_along_columns_come_back(wide in any::<bool>(), n_rows in 1..40usize, seed in any::<u32>()) {
        let bits = if wide { 8 } else { 4 };
        let n_words = (n_rows * bits).div_ceil(32);
        let columns: Vec<Vec<u32>> = (0..3).map(|column| random(seed ^ column, n_rows, bits)).collect();
        let packed: Vec<Vec<u32>> = columns.iter().map(|column| packed(column, bits)).collect();
        let words: Vec<u32> = (0..n_words).flat_map(|word| packed.iter().map(move |column| column[word])).collect();
        let part = part_of(raw("p", "I32", &[n_words, 3], to_bytes(&words)));
        let unpacked = codes::Codes::new(part, bits, [n_rows, 3], codes::Packing::First).unwrap();
        let codes: Vec<u32> = (0..n_rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
        check_codes(unpacked, &codes, 3);
    }
}

fn part_of(tensor: Raw) -> Part {
    let name = tensor.name.clone();
    let bytes = crate::load::file::FileBytes::from(file(&[tensor]));
    let tensors = crate::load::safetensors::read_header(&bytes).unwrap();
    let files = [OpenFile { path: PathBuf::new(), tensors, bytes: std::sync::Arc::new(bytes) }];
    let parts = Parts::of(&files);
    parts.sorted().into_iter().find(|part| part.name == name).unwrap().clone()
}

fn random(seed: u32, len: usize, bits: usize) -> Vec<u32> {
    (0..len as u32)
        .map(|i| (i ^ seed).wrapping_mul(0x9E37_79B9).rotate_left(11) & ((1 << bits) - 1))
        .collect()
}

/// One stream of bits, the lowest first, bit by bit.
fn packed(codes: &[u32], bits: usize) -> Vec<u32> {
    let mut words = vec![0; (codes.len() * bits).div_ceil(32)];
    for at in 0..codes.len() * bits {
        words[at / 32] |= (codes[at / bits] >> (at % bits) & 1) << (at % 32);
    }
    words
}

/// Compares with `[n, n_cols]` codes, row-major.
fn check_codes(unpacked: codes::Codes, codes: &[u32], n_cols: usize) {
    let codes: Vec<u8> = codes.iter().map(|&code| code as u8).collect();
    let n_rows = codes.len() / n_cols;
    let transposed = |columns: std::ops::Range<usize>| -> Vec<u8> {
        columns
            .flat_map(|column| (0..n_rows).map(move |row| (row, column)))
            .map(|(row, column)| codes[row * n_cols + column])
            .collect()
    };
    for columns in [0..n_cols, n_cols / 2..n_cols, 0..n_cols / 3] {
        assert_eq!(unpacked.columns(columns.clone()).unwrap(), transposed(columns));
    }
    let held = unpacked.held().unwrap();
    for (index, &code) in codes.iter().enumerate() {
        assert_eq!(held.get(index / n_cols, index % n_cols), code);
    }
}
