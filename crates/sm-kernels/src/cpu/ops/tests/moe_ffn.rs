//! `MoeFfn`.

use super::*;
use crate::plan::{Activation, Experts, MoeFfn, Norm, Store};

#[derive(Clone, Copy, Debug)]
struct Case {
    n_experts: usize,
    top_k: usize,
    renormalize: bool,
    ffn: usize,
    hidden: usize,
    dtype: DType,
    store: Store,
    forms: Forms,
}

const CASE: Case = Case {
    n_experts: 4,
    top_k: 2,
    renormalize: true,
    ffn: 32,
    hidden: 64,
    dtype: DType::F32,
    store: Store::Write,
    forms: Forms::F32,
};

impl Case {
    fn run(&self, lengths: &[usize]) {
        let &Self { n_experts, top_k, renormalize, ffn, hidden, dtype, store, forms } = self;
        let mut test = OpTest::new(hidden);
        let weight = test.builder.vector("w", hidden, vec!["w".to_owned()]);
        let h = test.buffer(hidden);
        let out = test.buffer(hidden);
        let x = test.x;
        let norm = |eps, out| Norm {
            x,
            kind: crate::plan::NormKind::Rms,
            weight,
            bias: None,
            eps,
            store: Store::Write,
            out,
        };
        test.builder.push(norm(1e-6, h));
        if store == Store::Add {
            test.builder.push(norm(1.0, out));
        }
        let experts = Experts {
            router: test.matrix("router", hidden, &[(n_experts, DType::F32)]),
            gate: test.matrix("gate", hidden, &vec![(ffn, dtype); n_experts]),
            up: test.matrix("up", hidden, &[(n_experts * ffn, dtype)]),
            down: test.matrix("down", ffn, &vec![(hidden, dtype); n_experts]),
            n_experts,
            top_k,
            renormalize,
            activation: Activation::Silu,
        };
        test.builder.push(MoeFfn { x: h, experts, store, out });
        let moe_ffn = if store == Store::Add { 3 } else { 2 };
        test.read_as(out, hidden, forms);
        let trace = test.run(lengths);
        let expected = self.reference(&trace);
        let is_rounded = dtype.is_quantized() || dtype == DType::Bf16 || forms == INT8;
        let tolerance = if is_rounded { 0.02 } else { 5e-6 };
        assert_close(&format!("{self:?}"), &trace.outputs[moe_ffn], &expected, tolerance);
    }

    fn reference(&self, trace: &Trace) -> Vec<f64> {
        let &Self { n_experts, top_k, ffn, hidden, .. } = self;
        let stacked = |name: &str, n: usize| -> Vec<f32> {
            (0..n).flat_map(|part| trace.weights.values(&format!("{name}.{part}"))).collect()
        };
        let router = stacked("router", 1);
        let up = stacked("up", 1);
        let gate = stacked("gate", n_experts);
        let down = stacked("down", n_experts);
        let mut all = Vec::new();
        for (row, x) in trace.outputs[1].chunks_exact(hidden).enumerate() {
            let exps: Vec<f64> = router.chunks_exact(hidden).map(|w| dot(w, x).exp()).collect();
            let sum: f64 = exps.iter().sum();
            let mut order: Vec<usize> = (0..n_experts).collect();
            order.sort_by(|a, b| exps[*b].total_cmp(&exps[*a]));
            let chosen = &order[..top_k];
            let chosen_sum: f64 = chosen.iter().map(|expert| exps[*expert] / sum).sum();
            let mut out = vec![0.0; hidden];
            for &expert in chosen {
                let weight = exps[expert] / sum / if self.renormalize { chosen_sum } else { 1.0 };
                let inner = |i: usize| {
                    let row = (expert * ffn + i) * hidden;
                    let gate = dot(&gate[row..row + hidden], x);
                    gate / (1.0 + (-gate).exp()) * dot(&up[row..row + hidden], x)
                };
                let inner: Vec<f32> = (0..ffn).map(|i| inner(i) as f32).collect();
                for (column, out) in out.iter_mut().enumerate() {
                    *out += weight * dot(&down[(expert * hidden + column) * ffn..][..ffn], &inner);
                }
            }
            if self.store == Store::Add {
                let before = &trace.outputs[2][row * hidden..];
                out.iter_mut().zip(before).for_each(|(out, before)| *out += f64::from(*before));
            }
            all.extend(out);
        }
        all
    }
}

#[test]
fn routes_to_the_most_probable_experts() {
    for (n_experts, top_k) in [(1, 1), (4, 1), (4, 4), (17, 3), (40, 8)] {
        for renormalize in [false, true] {
            Case { n_experts, top_k, renormalize, ..CASE }.run(&[1]);
            Case { n_experts, top_k, renormalize, ..CASE }.run(&[20, 3]);
        }
    }
}

#[test]
fn experts_of_any_size_format_and_store() {
    for (ffn, hidden) in [(1, 5), (24, 20), (40, 48), (96, 33)] {
        for store in [Store::Write, Store::Add] {
            Case { ffn, hidden, store, ..CASE }.run(&[9]);
        }
    }
    for dtype in [DType::F32, DType::F16, DType::Bf16, DType::Q8_0] {
        for forms in [Forms::F32, INT8, BOTH] {
            Case { dtype, forms, ..CASE }.run(&[30]);
        }
    }
}

#[test]
fn ties_go_to_the_lower_index() {
    let mut chosen = Vec::new();
    let logits = [1.0, 3.0, 2.0, 3.0, 3.0];
    for rank in 0..3 {
        chosen.push(super::super::moe_ffn::most_probable(&logits, &chosen[..rank]));
    }
    assert_eq!(chosen, [1, 3, 4]);
}
