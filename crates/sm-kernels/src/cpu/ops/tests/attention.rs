//! `RopeStore` and `Attention`.

use half::f16;

use super::*;
use crate::plan::{Attention, NormOrder, QueryScale, RopePairs, RopeStore, RopeTable};

/// The norms of q and k.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Norms {
    None,
    PerHead,
    AllHeads,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    /// Rotated pairs, 0 for no rotation.
    n_pairs: usize,
    pairs: RopePairs,
    norms: Norms,
    window: Option<usize>,
    soft_cap: Option<f32>,
    norm_order: NormOrder,
    q_scale: Option<QueryScale>,
    kv_dtype: KvDType,
    forms: Forms,
}

const CASE: Case = Case {
    n_heads: 4,
    n_kv_heads: 2,
    head_dim: 16,
    n_pairs: 8,
    pairs: RopePairs::Halves,
    norms: Norms::None,
    window: None,
    soft_cap: None,
    norm_order: NormOrder::BeforeRope,
    q_scale: None,
    kv_dtype: KvDType::F32,
    forms: Forms::F32,
};

impl Case {
    fn run(&self, lengths: &[usize]) {
        let &Self { n_heads, n_kv_heads, head_dim, .. } = self;
        let q_width = n_heads * head_dim;
        let scale = 3.0 / (head_dim as f32).sqrt();
        let mut test = OpTest::new((n_heads + 2 * n_kv_heads) * head_dim);
        let [_, kv] = [0, 1].map(|_| test.builder.kv(n_kv_heads, head_dim, head_dim));
        test.kv_dtype = self.kv_dtype;
        let q = test.buffer(q_width);
        let out = test.buffer(q_width);
        let rope = (self.n_pairs != 0).then(|| test.builder.rope(self.rope()));
        let mut norm = |name: &str, n_heads: usize| {
            let len = match self.norms {
                Norms::None => return None,
                Norms::PerHead => head_dim,
                Norms::AllHeads => n_heads * head_dim,
            };
            Some(test.builder.vector(name, len, vec![name.to_owned()]))
        };
        let q_norm = norm("q_norm", n_heads);
        let k_norm = norm("k_norm", n_kv_heads);
        let &Self { window, soft_cap, norm_order, q_scale, .. } = self;
        let qkv = test.x;
        test.builder.push(RopeStore {
            qkv,
            kv,
            rope,
            q_norm,
            k_norm,
            norm_eps: 1e-6,
            norm_order,
            q_scale,
            q,
        });
        test.builder.push(Attention { q, kv, n_heads, scale, window, soft_cap, out });
        test.read_as(out, q_width, self.forms);
        let trace = test.run(lengths);
        let (q, out) = self.reference(&trace, scale);
        assert_close(&format!("rope store {self:?}"), &trace.outputs[1], &q, 1e-6);
        let tolerance = match (self.forms, self.kv_dtype) {
            (INT8, _) => 0.5 / 127.0 + 1e-4,
            (_, KvDType::F16) => 1e-4,
            (_, KvDType::F32) => 5e-6,
            // A code at the edge between two becomes the other one.
            (_, KvDType::Q8_0) => 1e-2,
        };
        assert_close(&format!("attention {self:?}"), &trace.outputs[2], &out, tolerance);
    }

    fn rope(&self) -> RopeTable {
        let inv_freq = (0..self.n_pairs).map(|i| 100_f32.powf(-(i as f32) / self.n_pairs as f32)).collect();
        RopeTable { inv_freq, scale: 1.25, pairs: self.pairs, extended: None }
    }

    /// Head `index` of `heads`, which are all query heads or all key heads of a row.
    fn head(&self, heads: &[f32], index: usize, norm: &str, position: usize) -> Vec<f64> {
        let x = &heads[index * self.head_dim..][..self.head_dim];
        let mut x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        if self.norm_order == NormOrder::AfterRope {
            self.rotate(&mut x, position);
            let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-6).sqrt();
            let weight = random_vector(norm, x.len());
            x.iter_mut().zip(weight).for_each(|(x, w)| *x *= f64::from(w) / rms);
            return x;
        }
        if self.norms != Norms::None {
            let len = if self.norms == Norms::AllHeads { heads.len() } else { x.len() };
            let first = index * x.len() / len * len;
            let squares = heads[first..][..len].iter().map(|x| f64::from(*x).powi(2));
            let rms = (squares.sum::<f64>() / len as f64 + 1e-6).sqrt();
            let weight = random_vector(norm, len).split_off(index * x.len() - first);
            x.iter_mut().zip(weight).for_each(|(x, w)| *x *= f64::from(w) / rms);
        }
        self.rotate(&mut x, position);
        x
    }

    fn rotate(&self, x: &mut [f64], position: usize) {
        for (i, frequency) in self.rope().inv_freq.iter().enumerate() {
            let (a, b) = match self.pairs {
                RopePairs::Halves => (i, i + self.n_pairs),
                RopePairs::Adjacent => (2 * i, 2 * i + 1),
            };
            let (sin, cos) = (position as f64 * f64::from(*frequency)).sin_cos();
            (x[a], x[b]) = (1.25 * (x[a] * cos - x[b] * sin), 1.25 * (x[b] * cos + x[a] * sin));
        }
    }

    /// A head as it is stored in pages.
    fn stored(&self, head: &[f64]) -> Vec<f64> {
        let byte = |group: &[f64]| -> Vec<f64> {
            let scale = group.iter().fold(0.0, |max: f64, x| max.max(x.abs())) / 127.0;
            group.iter().map(|x| (x / scale).round_ties_even() * scale).collect()
        };
        match self.kv_dtype {
            KvDType::F32 => head.to_vec(),
            KvDType::F16 => head.iter().map(|x| f16::from_f64(*x).to_f64()).collect(),
            KvDType::Q8_0 => head.chunks(32).flat_map(byte).collect(),
        }
    }

    /// The rotated queries and the results.
    fn reference(&self, trace: &Trace, scale: f32) -> (Vec<f64>, Vec<f64>) {
        let &Self { n_heads, n_kv_heads, head_dim, .. } = self;
        let width = (n_heads + 2 * n_kv_heads) * head_dim;
        let rows: Vec<_> = trace.outputs[0].chunks_exact(width).collect();
        let mut all_q = Vec::new();
        let mut all_out = Vec::new();
        for context in trace.batch.contexts() {
            let first = *context.start();
            let row = *context.end();
            for head in 0..n_heads {
                let mut q = self.head(&rows[row][..n_heads * head_dim], head, "q_norm", row - first);
                if let Some(QueryScale { beta, interval }) = self.q_scale {
                    let n_intervals = ((row - first) / interval) as f64;
                    q.iter_mut().for_each(|q| *q *= 1.0 + f64::from(beta) * (1.0 + n_intervals).ln());
                }
                let kv_head = head / (n_heads / n_kv_heads);
                let mut out = vec![0.0; head_dim];
                let mut max = f64::NEG_INFINITY;
                let mut sum = 0.0;
                let visible =
                    self.window.map_or(first, |window| first.max((row + 1).saturating_sub(window)))..=row;
                for seen in visible {
                    let keys = &rows[seen][n_heads * head_dim..][..n_kv_heads * head_dim];
                    let k = self.head(keys, kv_head, "k_norm", seen - first);
                    let v = &rows[seen][(n_heads + n_kv_heads + kv_head) * head_dim..][..head_dim];
                    let v: Vec<f64> = v.iter().map(|v| f64::from(*v)).collect();
                    let k = self.stored(&k);
                    let v = self.stored(&v);
                    let mut score: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
                    score *= f64::from(scale);
                    if let Some(cap) = self.soft_cap {
                        score = f64::from(cap) * (score / f64::from(cap)).tanh();
                    }
                    let new_max = score.max(max);
                    let keep = (max - new_max).exp();
                    let weight = (score - new_max).exp();
                    max = new_max;
                    sum = sum * keep + weight;
                    for (out, v) in out.iter_mut().zip(v) {
                        *out = *out * keep + weight * v;
                    }
                }
                all_q.extend(q);
                all_out.extend(out.iter().map(|out| out / sum));
            }
        }
        (all_q, all_out)
    }
}

#[test]
fn heads_of_any_size_match_the_reference() {
    for (head_dim, n_pairs) in
        [(1, 0), (2, 1), (8, 4), (10, 3), (16, 8), (33, 16), (80, 40), (96, 20), (128, 64), (256, 128)]
    {
        for pairs in [RopePairs::Halves, RopePairs::Adjacent] {
            for norms in [Norms::None, Norms::PerHead, Norms::AllHeads] {
                Case { head_dim, n_pairs, pairs, norms, ..CASE }.run(&[19, 3]);
            }
        }
    }
}

#[test]
fn heads_may_be_normalised_after_the_rotation() {
    for (head_dim, n_pairs) in [(2, 1), (10, 3), (16, 8), (33, 16), (128, 64)] {
        for pairs in [RopePairs::Halves, RopePairs::Adjacent] {
            let case = Case { head_dim, n_pairs, pairs, norms: Norms::PerHead, ..CASE };
            Case { norm_order: NormOrder::AfterRope, ..case }.run(&[19, 3]);
        }
    }
}

#[test]
fn queries_are_scaled_by_their_position() {
    for (head_dim, interval) in [(16, 1), (16, 4), (10, 16), (33, 1000)] {
        let q_scale = Some(QueryScale { beta: 0.4, interval });
        Case { head_dim, n_pairs: head_dim / 4, q_scale, ..CASE }.run(&[40, 3]);
    }
}

#[test]
fn any_number_of_query_heads_share_a_key_head() {
    for (n_heads, n_kv_heads) in
        [(1, 1), (3, 3), (4, 1), (9, 3), (10, 2), (40, 1), (12, 4), (6, 1), (14, 2), (8, 1)]
    {
        for kv_dtype in [KvDType::F32, KvDType::F16, KvDType::Q8_0] {
            Case { n_heads, n_kv_heads, kv_dtype, ..CASE }.run(&[35, 1, 16]);
        }
    }
}

#[test]
fn q8_0_pages_have_a_scale_per_32_dimensions() {
    for head_dim in [1, 8, 31, 32, 33, 48, 64, 80, 128, 256] {
        Case { head_dim, n_pairs: head_dim / 2, kv_dtype: KvDType::Q8_0, ..CASE }.run(&[19, 3]);
    }
}

#[test]
fn windows_and_soft_caps_apply_across_pages_and_partitions() {
    for window in [None, Some(1), Some(5), Some(16), Some(255), Some(257), Some(1000)] {
        for soft_cap in [None, Some(2.0)] {
            for (head_dim, n_pairs) in [(16, 8), (10, 3)] {
                Case { window, soft_cap, head_dim, n_pairs, n_heads: 2, n_kv_heads: 1, ..CASE }
                    .run(&[530, 276]);
            }
        }
    }
}

#[test]
fn outputs_are_encoded_as_the_buffer_asks() {
    for forms in [INT8, BOTH] {
        for (n_heads, n_kv_heads, head_dim) in [(4, 2, 16), (4, 4, 8), (4, 4, 80), (2, 1, 16), (3, 3, 32)] {
            Case { forms, n_heads, n_kv_heads, head_dim, n_pairs: 4, ..CASE }.run(&[40, 7]);
        }
    }
}
