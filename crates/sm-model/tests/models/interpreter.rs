//! Runs a plan op by op, plainly, so that plans can be tested without a backend.
//!
//! One sequence from its first position, sums in `f64`, nothing reused between steps.

use sm_kernels::plan::{
    Activation, Attention, BufferId, Embed, Epilogue, Experts, GatedLinear, GatherRows, Linear, MatrixId,
    Norm, NormKind, NormOrder, Op, PageGroup, Plan, RopePairs, RopeRange, RopeStore, RopeTable, Rows,
    SigmoidGate, Store, VectorId, WeightSource, Xielu,
};
use sm_model::Model;
use sm_tensor::dequantize;

/// The logits of every token, `[n_tokens, vocab_size]`; `visit` sees the result of each op.
pub(crate) fn run(model: &Model, tokens: &[u32], visit: &mut dyn FnMut(usize, &[Vec<f32>])) -> Vec<Vec<f32>> {
    let plan = &model.plan;
    let mut state = State {
        plan,
        weights: &model.weights,
        tokens,
        buffers: vec![Vec::new(); plan.buffers.len()],
        keys: vec![Vec::new(); plan.cache.n_kv_layers()],
        values: vec![Vec::new(); plan.cache.n_kv_layers()],
    };
    for (index, op) in plan.ops.iter().enumerate() {
        let out = state.run(op);
        visit(index, &state.buffers[out.index()]);
    }
    std::mem::take(&mut state.buffers[plan.logits.unwrap().index()])
}

struct State<'a> {
    plan: &'a Plan,
    weights: &'a dyn WeightSource,
    tokens: &'a [u32],
    /// `[rows, width]`.
    buffers: Vec<Vec<Vec<f32>>>,
    /// Per layer `[positions, n_kv_heads * head_dim]`.
    keys: Vec<Vec<Vec<f32>>>,
    values: Vec<Vec<Vec<f32>>>,
}

fn activate(activation: Activation, x: f32) -> f32 {
    let x64 = f64::from(x);
    (match activation {
        Activation::Silu => x64 / (1.0 + (-x64).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x64 + 0.044_715 * x64.powi(3));
            0.5 * x64 * (1.0 + inner.tanh())
        }
        Activation::GeluErf => panic!("no golden model uses the exact GELU"),
        Activation::Xielu(Xielu { alpha_p, alpha_n, beta, eps }) => {
            let [alpha_p, alpha_n, beta, eps] = [alpha_p, alpha_n, beta, eps].map(f64::from);
            let curve = if x64 > 0.0 { alpha_p * x64 * x64 } else { alpha_n * (x64.min(eps).exp_m1() - x64) };
            curve + beta * x64
        }
    }) as f32
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn soft_cap(cap: f32, x: f64) -> f64 {
    f64::from(cap) * (x / f64::from(cap)).tanh()
}

fn rms_norm(x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = 1.0 / (dot(x, x) / x.len() as f64 + f64::from(eps)).sqrt();
    x.iter_mut().zip(weight).for_each(|(x, w)| *x = (f64::from(*x) * scale) as f32 * w);
}

fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    for ((x, w), b) in x.iter_mut().zip(weight).zip(bias) {
        *x = ((f64::from(*x) - mean) * scale) as f32 * w + b;
    }
}

/// Rotates a head by some frequencies of a rope.
fn rotate(head: &mut [f32], rope: &RopeTable, frequencies: &[f32], position: usize) {
    let n_pairs = frequencies.len();
    for (pair, freq) in frequencies.iter().enumerate() {
        let (first, second) = match rope.pairs {
            RopePairs::Halves => (pair, pair + n_pairs),
            RopePairs::Adjacent => (2 * pair, 2 * pair + 1),
        };
        let (sin, cos) = (position as f32 * freq).sin_cos();
        let (sin, cos) = (sin * rope.scale, cos * rope.scale);
        let (a, b) = (head[first], head[second]);
        (head[first], head[second]) = (a * cos - b * sin, a * sin + b * cos);
    }
}

impl State<'_> {
    /// Every row of a matrix, as numbers.
    fn matrix(&self, id: MatrixId) -> Vec<Vec<f32>> {
        let matrix = self.plan.matrix(id);
        let (mut rows, mut buffer) = (Vec::new(), Vec::new());
        for part in &matrix.parts {
            for row in 0..part.rows {
                let bytes = self.weights.matrix_rows(&part.tensor, row..row + 1, &mut buffer).unwrap();
                let mut values = vec![0.0; matrix.cols];
                dequantize(part.dtype, bytes, &mut values).unwrap();
                rows.push(values);
            }
        }
        rows
    }

    fn vector(&self, id: VectorId) -> Vec<f32> {
        let vector = self.plan.vector(id);
        let values: Vec<f32> =
            vector.parts.iter().flat_map(|part| self.weights.vector(part).unwrap()).collect();
        assert_eq!(values.len(), vector.len, "{}", vector.name);
        values
    }

    fn rows(&self, id: BufferId) -> &[Vec<f32>] {
        &self.buffers[id.index()]
    }

    fn store(&mut self, out: BufferId, store: Store, values: Vec<Vec<f32>>) {
        let buffer = &mut self.buffers[out.index()];
        match store {
            Store::Write => *buffer = values,
            Store::Add => {
                for (row, added) in buffer.iter_mut().zip(values) {
                    row.iter_mut().zip(added).for_each(|(value, added)| *value += added);
                }
            }
        }
    }

    fn run(&mut self, op: &Op) -> BufferId {
        match op {
            &Op::Embed(Embed { table, positions, scale, out }) => {
                let (table, positions) = (self.matrix(table), positions.map(|id| self.matrix(id)));
                let row = |(position, &token): (usize, &u32)| -> Vec<f32> {
                    let added = positions.as_ref().map(|rows| &rows[position]);
                    let scaled = table[token as usize].iter().map(|value| value * scale);
                    scaled.enumerate().map(|(i, value)| value + added.map_or(0.0, |row| row[i])).collect()
                };
                self.buffers[out.index()] = self.tokens.iter().enumerate().map(row).collect();
            }
            &Op::Norm(Norm { x, kind, weight, bias, eps, store, out }) => {
                let (weight, bias) = (self.vector(weight), bias.map(|id| self.vector(id)));
                let mut rows = self.rows(x).to_vec();
                for row in &mut rows {
                    match kind {
                        NormKind::Rms => rms_norm(row, &weight, eps),
                        NormKind::Layer => layer_norm(row, &weight, bias.as_ref().unwrap(), eps),
                    }
                }
                self.store(out, store, rows);
            }
            Op::Linear(op) => self.linear(op),
            &Op::GatedLinear(GatedLinear { x, gate, up, activation, out }) => {
                let (gate, up) = (self.matrix(gate), self.matrix(up));
                let row = |x: &Vec<f32>| -> Vec<f32> {
                    let gated = |(g, u): (&Vec<f32>, &Vec<f32>)| {
                        activate(activation, dot(g, x) as f32) * dot(u, x) as f32
                    };
                    gate.iter().zip(&up).map(gated).collect()
                };
                self.buffers[out.index()] = self.rows(x).iter().map(row).collect();
            }
            Op::RopeStore(op) => self.rope_store(op),
            Op::Attention(op) => self.buffers[op.out.index()] = self.attention(op),
            Op::MoeFfn(op) => {
                let rows = self.moe_ffn(op.x, &op.experts);
                self.store(op.out, op.store, rows);
            }
            &Op::SigmoidGate(SigmoidGate { x, weight, values, store, out }) => {
                let weight = self.vector(weight);
                let row = |(x, values): (&Vec<f32>, &Vec<f32>)| -> Vec<f32> {
                    let gate = 1.0 / (1.0 + (-dot(x, &weight)).exp());
                    values.iter().map(|&value| (gate * f64::from(value)) as f32).collect()
                };
                let rows = self.rows(x).iter().zip(self.rows(values)).map(row).collect();
                self.store(out, store, rows);
            }
            &Op::GatherRows(GatherRows { x, out }) => {
                assert_eq!(self.plan.buffer(out).rows, Rows::Outputs);
                self.buffers[out.index()] = self.rows(x).to_vec();
            }
            other => panic!("no model has a {}", other.name()),
        }
        op.writes()[0].buffer
    }

    fn linear(&mut self, op: &Linear) {
        let &Linear { x, weight, bias, epilogue, store, out } = op;
        let (weight, bias) = (self.matrix(weight), bias.map(|id| self.vector(id)));
        let value = |x: &[f32], index: usize, row: &[f32]| {
            let sum = dot(row, x) + bias.as_ref().map_or(0.0, |bias| f64::from(bias[index]));
            match epilogue {
                Epilogue::None => sum as f32,
                Epilogue::Activation(activation) => activate(activation, sum as f32),
                Epilogue::SoftCap(cap) => soft_cap(cap, sum) as f32,
                Epilogue::Scale(scale) => (sum * f64::from(scale)) as f32,
            }
        };
        let row = |x: &Vec<f32>| weight.iter().enumerate().map(|(index, row)| value(x, index, row)).collect();
        let rows = self.rows(x).iter().map(row).collect();
        self.store(out, store, rows);
    }

    fn rope_store(&mut self, op: &RopeStore) {
        let &RopeStore { qkv, kv, rope, q_norm, k_norm, norm_eps, norm_order, q_scale, q } = op;
        let &PageGroup { n_kv_heads, key_dim: head_dim, .. } = self.plan.cache.group(kv).unwrap();
        let kv_width = n_kv_heads * head_dim;
        let q_width = self.plan.buffer(q).width;
        let rope = rope.map(|id| self.plan.rope(id));
        let (q_norm, k_norm) = (q_norm.map(|id| self.vector(id)), k_norm.map(|id| self.vector(id)));
        let mut rows = self.rows(qkv).to_vec();
        let n_tokens = rows.len();
        for (position, row) in rows.iter_mut().enumerate() {
            let (all_q, all_k) = row[..q_width + kv_width].split_at_mut(q_width);
            for (heads, norm) in [(&mut *all_q, &q_norm), (all_k, &k_norm)] {
                let normalise = |heads: &mut [f32]| {
                    // Weights for one head are for each on its own, weights for all are for all together.
                    if let Some(weight) = norm {
                        heads.chunks_mut(weight.len()).for_each(|values| rms_norm(values, weight, norm_eps));
                    }
                };
                if norm_order == NormOrder::BeforeRope {
                    normalise(heads);
                }
                if let Some(rope) = rope {
                    let is_long = rope.extended.as_ref().is_some_and(|extended| n_tokens > extended.beyond);
                    let range = if is_long { RopeRange::Extended } else { RopeRange::Original };
                    let frequencies = rope.frequencies(range);
                    heads.chunks_mut(head_dim).for_each(|head| rotate(head, rope, frequencies, position));
                }
                if norm_order == NormOrder::AfterRope {
                    normalise(heads);
                }
            }
            if let Some(scale) = q_scale {
                let scale = scale.at(position as u32);
                all_q.iter_mut().for_each(|q| *q *= scale);
            }
        }
        let part = |from: usize, to: usize| rows.iter().map(|row| row[from..to].to_vec()).collect::<Vec<_>>();
        self.buffers[q.index()] = part(0, q_width);
        self.keys[kv.index()] = part(q_width, q_width + kv_width);
        self.values[kv.index()] = part(q_width + kv_width, q_width + 2 * kv_width);
    }

    fn attention(&self, op: &Attention) -> Vec<Vec<f32>> {
        let &Attention { q, kv, n_heads, scale, window, soft_cap: cap, .. } = op;
        let &PageGroup { n_kv_heads, key_dim: head_dim, .. } = self.plan.cache.group(kv).unwrap();
        let (keys, values) = (&self.keys[kv.index()], &self.values[kv.index()]);
        let group = n_heads / n_kv_heads;
        let row = |(position, q): (usize, &Vec<f32>)| {
            let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
            let head = |(index, q): (usize, &[f32])| -> Vec<f32> {
                let kv = index / group * head_dim;
                let score = |key: &Vec<f32>| {
                    let score = dot(q, &key[kv..kv + head_dim]) * f64::from(scale);
                    cap.map_or(score, |cap| soft_cap(cap, score))
                };
                let scores: Vec<f64> = keys[first..=position].iter().map(score).collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
                let total: f64 = weights.iter().sum();
                let values = &values[first..=position];
                let sum = |i: usize| {
                    values.iter().zip(&weights).map(|(v, w)| w * f64::from(v[kv + i])).sum::<f64>()
                };
                (0..head_dim).map(|i| (sum(i) / total) as f32).collect()
            };
            q.chunks(head_dim).enumerate().flat_map(head).collect()
        };
        self.rows(q).iter().enumerate().map(row).collect()
    }

    fn moe_ffn(&self, x: BufferId, experts: &Experts) -> Vec<Vec<f32>> {
        let (router, gate) = (self.matrix(experts.router), self.matrix(experts.gate));
        let (up, down) = (self.matrix(experts.up), self.matrix(experts.down));
        let ffn_size = gate.len() / experts.n_experts;
        let hidden = down.len() / experts.n_experts;
        let row = |x: &Vec<f32>| {
            let logits: Vec<f64> = router.iter().map(|row| dot(row, x)).collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
            let mut chosen: Vec<(usize, f64)> =
                logits.iter().enumerate().map(|(e, logit)| (e, (logit - max).exp() / total)).collect();
            chosen.sort_by(|a, b| b.1.total_cmp(&a.1));
            chosen.truncate(experts.top_k);
            let sum: f64 = if experts.renormalize { chosen.iter().map(|(_, p)| p).sum() } else { 1.0 };
            let mut out = vec![0.0f32; hidden];
            for (e, probability) in chosen {
                let of_expert = e * ffn_size..(e + 1) * ffn_size;
                let inner: Vec<f32> = of_expert
                    .map(|i| activate(experts.activation, dot(&gate[i], x) as f32) * dot(&up[i], x) as f32)
                    .collect();
                for (value, row) in out.iter_mut().zip(&down[e * hidden..]) {
                    *value += (dot(row, &inner) * probability / sum) as f32;
                }
            }
            out
        };
        self.rows(x).iter().map(row).collect()
    }
}
