//! Products of every weight type against sums in double precision, and the same bits for every number of rows.

use sm_kernels::plan::{GatherRows, Limits, Linear, MatrixPart, Plan, PlanBuilder, Rows};
use sm_kernels::testing::{RandomWeights, random_blocks, random_values};
use sm_kernels::{GpuBackend, Restriction};
use sm_tensor::DType;

use crate::{gpu, input, limits, prepare, restricted_gpu, skips, trace};

/// A product of rows that the test brings with a matrix of parts, `rows` each.
fn product(parts: &[(usize, DType)], cols: usize) -> Plan {
    let mut builder = PlanBuilder::new(200);
    let x = input(&mut builder, cols);
    let part = |(index, &(rows, dtype)): (usize, &(usize, DType))| MatrixPart {
        tensor: format!("weight.{index}"),
        dtype,
        rows,
    };
    let weight = builder.matrix("weight", cols, parts.iter().enumerate().map(part).collect());
    let n_rows = parts.iter().map(|part| part.0).sum();
    let y = builder.buffer("y", Rows::Tokens, n_rows);
    let logits = builder.buffer("logits", Rows::Outputs, n_rows);
    builder.push(Linear::new(x, weight, y));
    builder.push(GatherRows { x: y, out: logits });
    builder.finish(logits)
}

/// Columns that a type can have: no whole number of strips, and for floats of segments.
fn cols(dtype: DType) -> usize {
    match dtype.block_len() {
        1 => 331,
        256 => 768,
        _ => 384 + 128,
    }
}

#[test]
fn every_type_is_multiplied_and_no_row_depends_on_the_others() {
    let Some(backend) = gpu() else { return };
    let Some(plain) = restricted_gpu(Restriction::PLAIN) else { return };
    let without_matrices = Restriction { matrices: false, ..Restriction::NONE };
    let in_lanes = backend.matrix_side().and_then(|_| restricted_gpu(without_matrices));
    for dtype in DType::all() {
        for backend in [&backend, &plain].into_iter().chain(&in_lanes) {
            check_products(backend, dtype);
        }
    }
}

/// What rounding to half precision may change in a product, as a part of it: towards zero, of both factors.
fn halves_error(backend: &GpuBackend, dtype: DType) -> f64 {
    let are_halves = backend.matrix_side().is_some() && dtype != DType::F32;
    if are_halves { 2.0 / 1024.0 } else { 0.0 }
}

/// Products in each kernel, with rows that are exact in int8 too.
fn check_products(backend: &GpuBackend, dtype: DType) {
    let (cols, outputs) = (cols(dtype), 37);
    let plan = product(&[(outputs, dtype)], cols);
    let source = RandomWeights::new(&plan);
    let weights = source.values("weight.0");
    let x = random_blocks("rows", 70 * cols);
    let mut executor = prepare(backend, &plan, &source, limits());
    let all = trace(&mut *executor, 70, Some(&x)).swap_remove(1);
    for (row, (x, y)) in x.chunks(cols).zip(all.chunks(outputs)).enumerate() {
        for (output, (w, y)) in weights.chunks(cols).zip(y).enumerate() {
            let (expected, norm) = sum_of_products(w, x);
            // Rounding of each value, and of the additions of a strip and of the strips.
            let error = (cols / 8 + 32 + 10) as f64 * f64::from(f32::EPSILON) + halves_error(backend, dtype);
            let tolerance = error * norm;
            let difference = (f64::from(*y) - expected).abs();
            assert!(difference <= tolerance, "{dtype} row {row} output {output}: {y} for {expected}");
        }
    }
    for n_rows in [1, 2, 3, 4, 5, 8, 9, 32, 33] {
        let some = trace(&mut *executor, n_rows, Some(&x[..n_rows * cols])).swap_remove(1);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(bits(&some) == bits(&all[..n_rows * outputs]), "{dtype}: {n_rows} rows");
    }
}

#[test]
fn matrices_multiply_what_halves_can_hold_without_rounding() {
    let Some(backend) = gpu() else { return };
    if backend.matrix_side().is_none() {
        skips::skip::<()>(&format!("{} has no cooperative matrices", backend.adapter()));
        return;
    }
    let (cols, outputs, n_rows) = (331, 37, 70);
    let plan = product(&[(outputs, DType::F16)], cols);
    let source = RandomWeights::new(&plan);
    let weights = source.values("weight.0");
    let x: Vec<_> =
        random_values("rows", n_rows * cols).iter().map(|value| (value * 512.0).round()).collect();
    let mut executor = prepare(&backend, &plan, &source, limits());
    let mut beyond = x.clone();
    beyond[cols + 7] = -2e6;
    let broken = trace(&mut *executor, 3, Some(&beyond[..3 * cols])).swap_remove(1);
    let is_broken = broken.chunks(outputs).map(|row| row.iter().any(|value| !value.is_finite()));
    assert_eq!(is_broken.collect::<Vec<_>>(), [false, true, false]);
    for n_rows in [3, n_rows] {
        let all = trace(&mut *executor, n_rows, Some(&x[..n_rows * cols])).swap_remove(1);
        for (x, y) in x.chunks(cols).zip(all.chunks(outputs)) {
            for (w, y) in weights.chunks(cols).zip(y) {
                let (expected, norm) = sum_of_products(w, x);
                let difference = (f64::from(*y) - expected).abs();
                assert!(difference <= cols as f64 * f64::from(f32::EPSILON) * norm, "{y} for {expected}");
            }
        }
    }
}

/// A sum of products, and the sum of their magnitudes.
fn sum_of_products(w: &[f32], x: &[f32]) -> (f64, f64) {
    let terms = || w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
    (terms().sum(), terms().map(f64::abs).sum())
}

#[test]
fn rows_in_int8_are_within_half_a_step_of_their_blocks() {
    let Some(backend) = gpu() else { return };
    let (cols, outputs, n_rows) = (256, 37, 5);
    let plan = product(&[(outputs, DType::Q8_0)], cols);
    let source = RandomWeights::new(&plan);
    let weights = source.values("weight.0");
    let mut x = random_values("any rows", n_rows * cols);
    // Of each row, blocks of other magnitudes, zeros, and values whose inverse overflows.
    for row in x.chunks_mut(cols) {
        row[32..64].iter_mut().for_each(|value| *value *= 1e5);
        row[64..96].iter_mut().for_each(|value| *value *= 1e-5);
        row[96..128].fill(0.0);
        row[128..160].fill(2e-38);
    }
    x[3 * cols + 7] = f32::INFINITY;
    x[4 * cols + 250] = f32::NAN;
    let mut executor = prepare(&backend, &plan, &source, limits());
    let all = trace(&mut *executor, n_rows, Some(&x)).swap_remove(1);
    let (finite, broken) = all.split_at(3 * outputs);
    assert!(broken.iter().all(|value| value.is_nan()));
    let mut worst = 0.0_f64;
    for (x, y) in x.chunks(cols).zip(finite.chunks(outputs)) {
        for (w, y) in weights.chunks(cols).zip(y) {
            let (expected, norm) = sum_of_products(w, x);
            let blocks = w.chunks(32).zip(x.chunks(32)).map(|(w, x)| {
                let largest = x.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                f64::from(largest) / 254.0 * w.iter().map(|w| f64::from(w.abs())).sum::<f64>()
            });
            let error = 1e-5 + halves_error(&backend, DType::Q8_0);
            let tolerance = 1.001 * blocks.sum::<f64>() + error * norm;
            let difference = (f64::from(*y) - expected).abs();
            assert!(difference <= tolerance, "{y} for {expected}");
            worst = worst.max(difference / norm);
        }
    }
    // Single precision would be closer.
    assert!(1e-5 < worst, "{worst}");
}

#[test]
fn a_matrix_of_several_types_in_several_pieces_gives_the_same_bits() {
    let parts = [(150, DType::Q4K), (60, DType::Q4K), (200, DType::Q6K), (7, DType::F16)];
    let cols = 768;
    let plan = product(&parts, cols);
    let source = RandomWeights::new(&plan);
    let x = random_values("rows", 20 * cols);
    let run = |backend: &GpuBackend, n_rows: usize| {
        let limits = Limits { max_tokens: 20, max_outputs: 20, ..limits() };
        let mut executor = prepare(backend, &plan, &source, limits);
        trace(&mut *executor, n_rows, Some(&x[..n_rows * cols])).swap_remove(1)
    };
    let in_lanes = Restriction { matrices: false, ..Restriction::NONE };
    // Q4_K is cut every 170 rows, of 384 bytes of codes, within its second part. Subgroups change no bit of a product either.
    let max_binding_bytes = 1 << 16;
    let plain = Restriction { max_binding_bytes, int8: true, ..Restriction::PLAIN };
    let small = Restriction { max_binding_bytes, ..Restriction::NONE };
    for (whole, cut) in [(in_lanes, plain), (Restriction::NONE, small)] {
        let Some((whole, cut)) = restricted_gpu(whole).zip(restricted_gpu(cut)) else { return };
        for n_rows in [1, 20] {
            let (whole, cut) = (run(&whole, n_rows), run(&cut, n_rows));
            assert!(whole == cut && whole.len() == 417 * n_rows, "{n_rows} rows");
        }
    }
}
