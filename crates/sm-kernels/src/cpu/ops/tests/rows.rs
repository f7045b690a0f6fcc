//! Ops on single rows: `Embed`, `Norm`, `SigmoidGate`, `GatherRows`.

use super::*;
use crate::plan::{Norm, NormKind, SigmoidGate, Store};

#[test]
fn embed_scales_rows_and_adds_learned_positions() {
    for (width, scale) in [(1, 1.0), (16, 1.0), (33, 2.5), (64, 0.5)] {
        let mut test = OpTest::new(width);
        let out = test.buffer(width);
        let dtype = if width == 64 { DType::Q8_0 } else { DType::F16 };
        let table = test.matrix("other", width, &[(N_IDS, dtype)]);
        let positions = test.matrix("positions", width, &[(700, DType::F32)]);
        test.builder.push(Embed { table, positions: Some(positions), scale, out });
        let trace = test.run(&[5, 1, 3]);
        let table = trace.weights.values("other.0");
        let positions = trace.weights.values("positions.0");
        let mut expected = Vec::new();
        for (token, context) in trace.batch.tokens.iter().zip(trace.batch.contexts()) {
            let position = context.end() - context.start();
            for column in 0..width {
                let value = f64::from(table[token.0 as usize * width + column]) * f64::from(scale);
                expected.push(value + f64::from(positions[position * width + column]));
            }
        }
        assert_close("embed", &trace.outputs[1], &expected, 1e-7);
    }
}

struct NormCase {
    width: usize,
    kind: NormKind,
    bias: bool,
    store: Store,
    forms: Forms,
}

fn check_norm(case: &NormCase) {
    let &NormCase { width, kind, bias, store, forms } = case;
    let mut test = OpTest::new(width);
    let out = test.buffer(width);
    let weight = test.builder.vector("w", width, vec!["w".to_owned()]);
    let bias = bias.then(|| test.builder.vector("b", width, vec!["b".to_owned()]));
    let x = test.x;
    if store == Store::Add {
        let table = test.matrix("other", width, &[(N_IDS, DType::F32)]);
        test.builder.push(Embed { table, positions: None, scale: 1.0, out });
    }
    test.builder.push(Norm { x, kind, weight, bias, eps: 1e-3, store, out });
    let norm = if store == Store::Add { 2 } else { 1 };
    test.read_as(out, width, forms);
    let trace = test.run(&[7, 2]);
    let weight = random_vector("w", width);
    let bias = bias.map(|_| random_vector("b", width));
    let mut expected = Vec::new();
    for x in trace.outputs[0].chunks_exact(width) {
        let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let mean = if kind == NormKind::Rms { 0.0 } else { x.iter().sum::<f64>() / width as f64 };
        let square_sum: f64 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
        let scale = 1.0 / (square_sum / width as f64 + 1e-3).sqrt();
        for (column, x) in x.iter().enumerate() {
            let bias = bias.as_ref().map_or(0.0, |bias| f64::from(bias[column]));
            expected.push((x - mean) * scale * f64::from(weight[column]) + bias);
        }
    }
    if store == Store::Add {
        let before = &trace.outputs[norm - 1];
        expected.iter_mut().zip(before).for_each(|(expected, before)| *expected += f64::from(*before));
    }
    let tolerance = if forms == INT8 { 0.5 / 127.0 + 1e-6 } else { 2e-6 };
    assert_close(&format!("{kind:?} {width} {forms:?}"), &trace.outputs[norm], &expected, tolerance);
}

#[test]
fn norms_match_plain_loops() {
    for width in [1, 15, 16, 17, 63, 64, 65, 130] {
        for (kind, bias) in [(NormKind::Rms, false), (NormKind::Layer, false), (NormKind::Layer, true)] {
            for store in [Store::Write, Store::Add] {
                check_norm(&NormCase { width, kind, bias, store, forms: Forms::F32 });
            }
        }
    }
    for width in [32, 64, 160] {
        for forms in [INT8, BOTH] {
            check_norm(&NormCase { width, kind: NormKind::Rms, bias: false, store: Store::Write, forms });
        }
    }
}

#[test]
fn gather_rows_keeps_the_wanted_rows() {
    for width in [1, 16, 40] {
        let trace = OpTest::new(width).run(&[3, 4]);
        let x = trace.outputs[0].chunks_exact(width);
        let expected: Vec<f64> = x.step_by(2).flatten().map(|value| f64::from(*value)).collect();
        assert_close("gather rows", &trace.outputs[1], &expected, 0.0);
    }
}

struct GateCase {
    in_features: usize,
    width: usize,
    store: Store,
    forms: Forms,
}

fn check_gate(case: &GateCase) {
    let &GateCase { in_features, width, store, forms } = case;
    let mut test = OpTest::new(in_features);
    let values = test.buffer(width);
    let out = test.buffer(width);
    let weight = test.builder.vector("w", in_features, vec!["w".to_owned()]);
    let x = test.x;
    for (name, buffer) in [("values", values), ("before", out)] {
        let table = test.matrix(name, width, &[(N_IDS, DType::F32)]);
        test.builder.push(Embed { table, positions: None, scale: 1.0, out: buffer });
    }
    test.builder.push(SigmoidGate { x, weight, values, store, out });
    test.read_as(out, width, forms);
    let trace = test.run(&[7, 2]);
    let weight = random_vector("w", in_features);
    let mut expected = Vec::new();
    let rows = trace.outputs[0].chunks_exact(in_features).zip(trace.outputs[1].chunks_exact(width));
    for (x, values) in rows {
        let gate = 1.0 / (1.0 + (-dot(x, &weight)).exp());
        expected.extend(values.iter().map(|value| gate * f64::from(*value)));
    }
    if store == Store::Add {
        let before = &trace.outputs[2];
        expected.iter_mut().zip(before).for_each(|(expected, before)| *expected += f64::from(*before));
    }
    let tolerance = if forms == INT8 { 0.5 / 127.0 + 1e-6 } else { 2e-6 };
    assert_close(&format!("gate {in_features} {width} {forms:?}"), &trace.outputs[3], &expected, tolerance);
}

#[test]
fn gates_match_plain_loops() {
    for (in_features, width) in [(1, 1), (15, 33), (16, 16), (17, 64), (64, 17), (130, 65)] {
        for store in [Store::Write, Store::Add] {
            check_gate(&GateCase { in_features, width, store, forms: Forms::F32 });
        }
    }
    for forms in [INT8, BOTH] {
        check_gate(&GateCase { in_features: 64, width: 96, store: Store::Write, forms });
    }
}
