//! The forms hold the values of the files, to the bit.

use sm_tensor::{DType, dequantize};

use super::*;
use crate::testing::{encoded, random_values};

/// What kernels make of a row, written plainly: `quantized.wgsl`, `scales.wgsl` and `float.wgsl` in Rust.
fn values(form: &Form, planes: &Planes, cols: usize) -> Vec<f32> {
    let segments = cols.div_ceil(SEGMENT_LEN);
    let half = |word: u32, place: usize| half::f16::from_bits((word >> (16 * place)) as u16).to_f32();
    let form = match form {
        Form::Float(Float::F32) => return planes.low.iter().map(|word| f32::from_bits(*word)).collect(),
        Form::Float(Float::F16) => {
            return planes.low.iter().flat_map(|&w| [half(w, 0), half(w, 1)]).collect();
        }
        Form::Float(Float::Bf16) => {
            let pair = |word: u32| [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)];
            return planes.low.iter().flat_map(|&word| pair(word)).collect();
        }
        Form::Quantized(form) => form,
    };
    let plane = |words: &[u32], bits: usize, i: usize| {
        if bits == 0 {
            return 0;
        }
        let (segment, quad, byte) = (i / 32, i % 32 / 4, i % 4);
        let per_word = 8 / bits;
        let word = words[segment * bits + quad / per_word];
        word >> (quad % per_word * bits + 8 * byte) & ((1_u64 << bits) - 1) as u32
    };
    let byte = |words: &[u32], i: usize| (words[i / 4] >> (8 * (i % 4))) as u8;
    let value = |i: usize| {
        let code = plane(&planes.low, form.low_bits, i)
            | plane(&planes.high, form.high_bits, i) << (form.low_bits % 8);
        let code_value = match form.table {
            Some(table) => f32::from(table[code as usize]),
            None => code as f32 * form.step as f32 - form.offset as f32,
        };
        let (d, m) = match form.scales {
            Scales::Half if form.has_min => (half(planes.scales[i / 32], 0), half(planes.scales[i / 32], 1)),
            Scales::Half => (half(planes.scales[i / 64], i / 32 % 2), 0.0),
            Scales::Single => (f32::from_bits(planes.scales[i / 32]), 0.0),
            Scales::Super { groups } => {
                let words = &planes.scales[i / 256 * form.super_words()..];
                let codes = &words[1 + usize::from(form.has_min)..];
                let group = i % 256 / (256 / groups);
                let d = f32::from_bits(words[0]) * f32::from(byte(codes, group).cast_signed());
                let m = || f32::from_bits(words[1]) * f32::from(byte(&codes[groups / 4..], group));
                (d, if form.has_min { m() } else { 0.0 })
            }
        };
        if form.has_min { d * code_value - m } else { d * code_value }
    };
    (0..segments * SEGMENT_LEN).map(value).collect()
}

#[test]
fn every_type_keeps_its_values() {
    for dtype in DType::all() {
        // An odd number of segments where the type has blocks of one, and a row that ends within a segment where it has none.
        let cols = match dtype.block_len() {
            1 => 75,
            32 => 96,
            _ => 512,
        };
        let form = Form::of(dtype);
        let mut planes = Planes::default();
        for row in 0..3 {
            let bytes = encoded(dtype, &random_values(&format!("{dtype} {row}"), cols));
            let mut expected = vec![0.0; cols];
            dequantize(dtype, &bytes, &mut expected).unwrap();
            planes.clear();
            form.push_row(dtype, &bytes, cols, &mut planes);
            let words = form.row_words(cols);
            let lens =
                RowWords { low: planes.low.len(), high: planes.high.len(), scales: planes.scales.len() };
            assert_eq!(lens, words, "{dtype}");
            let actual = values(&form, &planes, cols);
            assert!(
                actual[..cols] == expected && actual[cols..].iter().all(|value| *value == 0.0),
                "{dtype}"
            );
        }
    }
}

#[test]
fn forms_take_hardly_more_than_the_file() {
    for (dtype, most) in [
        (DType::F16, 1.0),
        (DType::Q8_0, 1.0),
        (DType::Q4_0, 1.0),
        (DType::Q4_1, 1.0),
        (DType::Q5_1, 1.0),
        (DType::Q2K, 1.24),
        (DType::Q4K, 1.06),
        (DType::Q6K, 1.01),
        (DType::Mxfp4, 1.18),
    ] {
        let cols = 2048;
        let actual = Form::of(dtype).row_words(cols).n_bytes() as f64;
        let file = dtype.row_bytes(cols).unwrap() as f64;
        assert!(actual <= most * file, "{dtype}: {actual} bytes for {file}");
    }
}
