//! Rotary embedding and the KV write: splits q, k and v, normalises and rotates q and k, stores k and v in the pages.
//!
//! ```text
//! qkv row     │ q heads │ k heads │ v heads │
//!               norm      norm                     RMS of a head (Qwen3, Gemma 3) or of all heads (OLMo 2), if any
//!               rotate    rotate                   (x, y) → (x cos a - y sin a, y cos a + x sin a)
//!                 │         └─────────┴──► page    keys [head_dim][16], values [16][head_dim]
//!                 └──► q buffer
//! ```
//!
//! A worker has tiles of (rows that go to one page, key head) with the query heads of that key head: each element of a
//! page is written by one worker, and rows of one page are written together.
//!
//! HunYuan normalises after the rotation. Ministral 3 multiplies q by a factor that depends on the position.
//!
//! With a norm over all heads, every worker that has heads of a row adds up the squares of the whole row. That costs
//! little beside the product that made the row, and saves a phase with its barrier.
//!
//! [`RopeAngles`] computes `position * inv_freq` in double precision, once per step for all layers. A table of all
//! positions of a long context would not fit a cache. Scaled variants (linear, Llama 3, YaRN) differ in `inv_freq` and
//! in a factor on cosine and sine alone, which the plan holds.
//!
//! Sources: RoFormer (Su et al. 2021), YaRN (Peng et al. 2023). `Halves` pairs dimension `i` with `i + n`, as GPT-NeoX
//! and Hugging Face's Llama do; `Adjacent` pairs `2i` with `2i + 1`, as the paper does.

use super::reduce::sum_vectors;
use crate::cpu::arena::{Access, Region};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::KvElement;
use crate::cpu::step::StepContext;
use crate::plan::{NormOrder, QueryScale, RopePairs, RopeTable, VectorId};

/// Computes the cosines and sines of a step's positions.
#[derive(Clone, Debug)]
pub(crate) struct RopeAngles {
    /// Frequencies, and the factor on cosine and sine.
    pub(crate) table: RopeTable,
    /// `[n_tokens, 2 * half_len]`, by rows: cosines, then sines, each padded to whole vectors.
    pub(crate) out: Region<f32>,
}

impl RopeAngles {
    /// Values of a row for the cosines, and as many for the sines.
    pub(crate) fn half_len(table: &RopeTable) -> usize {
        table.inv_freq.len().next_multiple_of(LANES)
    }

    /// Computes this worker's rows.
    pub(crate) fn run(&self, step: &StepContext<'_>, access: &Access<'_>) {
        let mut out = access.share(self.out);
        for row in out.rows() {
            let position = f64::from(step.tables.positions[row]);
            let (cosines, sines) = out.row_mut(row).split_at_mut(Self::half_len(&self.table));
            let frequencies = self.table.frequencies(step.tables.rope_ranges[row]);
            for (frequency, (cosine, sine)) in frequencies.iter().zip(cosines.iter_mut().zip(sines)) {
                let (sin, cos) = (position * f64::from(*frequency)).sin_cos();
                let scale = f64::from(self.table.scale);
                *cosine = (cos * scale) as f32;
                *sine = (sin * scale) as f32;
            }
        }
    }
}

/// The rotation of a [`RopeStore`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rotation {
    /// What [`RopeAngles`] wrote.
    pub(crate) angles: Region<f32>,
    /// Pairs of dimensions that turn; the other dimensions of a head stay.
    pub(crate) n_pairs: usize,
    /// Which dimensions form a pair.
    pub(crate) pairs: RopePairs,
}

/// An RMS norm of heads in a [`RopeStore`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadNorm {
    /// `[len]`
    pub(crate) weight: VectorId,
    /// Values that are normalised together: those of a head, or of all heads of a position.
    pub(crate) len: usize,
}

/// A rotation and KV write with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RopeStore {
    /// `[n_tokens, (n_heads + 2 * n_kv_heads) * head_dim]`
    pub(crate) qkv: Region<f32>,
    /// `[n_tokens, n_heads * head_dim]`, by tiles of page runs.
    pub(crate) q: Region<f32>,
    /// A head for each worker, padded to whole vectors.
    pub(crate) work: Region<f32>,
    /// None for models without rotary embedding.
    pub(crate) rotation: Option<Rotation>,
    /// The norm of q.
    pub(crate) q_norm: Option<HeadNorm>,
    /// The norm of k.
    pub(crate) k_norm: Option<HeadNorm>,
    /// Epsilon of the two norms.
    pub(crate) norm_eps: f32,
    /// When heads are normalised.
    pub(crate) norm_order: NormOrder,
    /// A factor on q.
    pub(crate) q_scale: Option<QueryScale>,
    /// Number of key heads.
    pub(crate) n_kv_heads: usize,
    /// Values of a head.
    pub(crate) head_dim: usize,
    /// Query heads per key head.
    pub(crate) heads_per_kv: usize,
}

/// What happens to a head before it is written.
struct Transform<'a> {
    norm: Option<RowNorm<'a>>,
    /// Cosines, then sines; empty if the head is not rotated.
    angles: &'a [f32],
}

/// A [`HeadNorm`] in one row.
#[derive(Clone, Copy)]
struct RowNorm<'a> {
    /// `[head_dim or more]`, padded to whole vectors: the weights, from those of the head on.
    weight: &'a [f32],
    /// `1 / rms` of all heads together; of the head itself if none.
    inverse: Option<f32>,
}

impl<'a> RowNorm<'a> {
    /// The norm of a head, given that of its row.
    fn of_head(self, index: usize, head_dim: usize) -> RowNorm<'a> {
        match self.inverse {
            Some(_) => RowNorm { weight: &self.weight[index * head_dim..], ..self },
            None => self,
        }
    }
}

impl RopeStore {
    /// Computes this worker's page runs and heads.
    pub(crate) fn run<I: Isa, E: KvElement>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let qkv = access.read(self.qkv);
        let angles = self.rotation.map(|rotation| (access.read(rotation.angles), rotation.angles.stride()));
        let mut q = access.tiles(self.q);
        let mut work = access.share(self.work);
        let mut pages = access.kv_share::<E>();
        let head = work.all_mut();
        let head_dim = self.head_dim;
        let q_len = self.heads_per_kv * head_dim;
        isa.enter(
            #[inline(always)]
            || {
                for tile in pages.tiles() {
                    let run = tile / self.n_kv_heads;
                    let kv_head = tile % self.n_kv_heads;
                    let first_slot = step.tables.first_slots[run];
                    for (index, row) in step.tables.run_rows(run).enumerate() {
                        let slot = first_slot + index;
                        let qkv = &qkv[row * self.qkv.stride()..][..self.qkv.stride()];
                        let angles = angles.map_or(&[][..], |(all, stride)| &all[row * stride..][..stride]);
                        let (all_q, all_kv) = qkv.split_at(self.n_kv_heads * q_len);
                        let q_norm = self.q_norm.map(|norm| self.row_norm(isa, norm, all_q, step));
                        let k_norm = self.k_norm.map(|norm| self.row_norm(isa, norm, all_kv, step));
                        let q_scale = self.q_scale.map(|scale| scale.at(step.tables.positions[row]));
                        let (q_out, padding) = q.row_mut(tile, row).split_at_mut(q_len);
                        padding.fill(0.0);
                        let q_in = &all_q[kv_head * q_len..][..q_len];
                        let q_heads = q_in.chunks_exact(head_dim).zip(q_out.chunks_exact_mut(head_dim));
                        for (index, (x, out)) in q_heads.enumerate() {
                            let index = kv_head * self.heads_per_kv + index;
                            let norm = q_norm.map(|norm| norm.of_head(index, head_dim));
                            self.transform(isa, x, &Transform { norm, angles }, head);
                            match q_scale {
                                None => out.copy_from_slice(&head[..head_dim]),
                                Some(scale) => {
                                    out.iter_mut().zip(&*head).for_each(|(out, x)| *out = scale * x);
                                }
                            }
                        }
                        let k = &all_kv[kv_head * head_dim..][..head_dim];
                        let norm = k_norm.map(|norm| norm.of_head(kv_head, head_dim));
                        self.transform(isa, k, &Transform { norm, angles }, head);
                        E::store_key(isa, pages.page_mut(tile).0, head_dim, slot, head);
                        let v = &qkv[self.n_kv_heads * (q_len + head_dim) + kv_head * head_dim..][..head_dim];
                        self.transform(isa, v, &Transform { norm: None, angles: &[] }, head);
                        E::store_value(isa, pages.page_mut(tile).1, slot, head);
                    }
                }
            },
        );
    }

    /// The norm of a row's heads; `x` begins with them.
    #[inline(always)]
    fn row_norm<'a, I: Isa>(
        &self,
        isa: I,
        norm: HeadNorm,
        x: &[f32],
        step: &'a StepContext<'_>,
    ) -> RowNorm<'a> {
        let weight = step.weights.vector(norm.weight);
        let all_heads = norm.len != self.head_dim;
        RowNorm { weight, inverse: all_heads.then(|| self.inverse_rms(isa, &x[..norm.len], norm.len)) }
    }

    /// `1 / rms` of `n` values, which zeros may follow.
    #[inline(always)]
    fn inverse_rms<I: Isa>(&self, isa: I, x: &[f32], n: usize) -> f32 {
        let (vectors, tail) = x.as_chunks::<LANES>();
        let mut last = [0.0; LANES];
        last[..tail.len()].copy_from_slice(tail);
        let square_sum = sum_vectors(
            isa,
            vectors.len() + usize::from(!tail.is_empty()),
            #[inline(always)]
            |index, sum| {
                let v = isa.load(vectors.get(index).unwrap_or(&last));
                isa.mul_add(v, v, sum)
            },
        );
        1.0 / (square_sum / n as f32 + self.norm_eps).sqrt()
    }

    /// Writes a head to `out`, normalised, rotated, and padded with zeros.
    #[inline(always)]
    fn transform<I: Isa>(&self, isa: I, x: &[f32], transform: &Transform<'_>, out: &mut [f32]) {
        let (head, padding) = out.split_at_mut(x.len());
        head.copy_from_slice(x);
        padding.fill(0.0);
        let rotation = self.rotation.filter(|_| !transform.angles.is_empty());
        if let (NormOrder::AfterRope, Some(rotation)) = (self.norm_order, rotation) {
            rotation.rotate(isa, out, transform.angles);
        }
        if let Some(norm) = transform.norm {
            self.normalise(isa, norm, x.len(), out);
        }
        if let (NormOrder::BeforeRope, Some(rotation)) = (self.norm_order, rotation) {
            rotation.rotate(isa, out, transform.angles);
        }
    }

    /// Normalises a head of `head_dim` values, which zeros follow.
    #[inline(always)]
    fn normalise<I: Isa>(&self, isa: I, norm: RowNorm<'_>, head_dim: usize, out: &mut [f32]) {
        let RowNorm { weight, inverse } = norm;
        let inverse = isa.splat(inverse.unwrap_or_else(|| self.inverse_rms(isa, out, head_dim)));
        // The weights of a head need not begin at a whole vector of all, so the last one may be cut short.
        let (weights, tail) = weight.as_chunks::<LANES>();
        let mut last = [0.0; LANES];
        last[..tail.len()].copy_from_slice(tail);
        for (index, v) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let weight = isa.load(weights.get(index).unwrap_or(&last));
            isa.store(v, isa.mul(isa.mul(isa.load(v), inverse), weight));
        }
    }
}

impl Rotation {
    /// Rotates the pairs of a head.
    #[inline(always)]
    fn rotate<I: Isa>(&self, isa: I, head: &mut [f32], angles: &[f32]) {
        let (cosines, sines) = angles.split_at(angles.len() / 2);
        let angles = cosines.as_chunks().0.iter().zip(sines.as_chunks().0);
        match self.pairs {
            RopePairs::Halves => {
                let (xs, ys) = head.split_at_mut(self.n_pairs);
                let ys = &mut ys[..self.n_pairs];
                for ((xs, ys), (cos, sin)) in xs.chunks_mut(LANES).zip(ys.chunks_mut(LANES)).zip(angles) {
                    if let (Some(x), Some(y)) = (xs.first_chunk_mut(), ys.first_chunk_mut()) {
                        rotate_lanes(isa, x, y, cos, sin);
                        continue;
                    }
                    let mut x = [0.0; LANES];
                    let mut y = [0.0; LANES];
                    x[..xs.len()].copy_from_slice(xs);
                    y[..ys.len()].copy_from_slice(ys);
                    rotate_lanes(isa, &mut x, &mut y, cos, sin);
                    xs.copy_from_slice(&x[..xs.len()]);
                    ys.copy_from_slice(&y[..ys.len()]);
                }
            }
            RopePairs::Adjacent => {
                let pairs = head[..2 * self.n_pairs].as_chunks_mut::<2>().0;
                for (pairs, (cos, sin)) in pairs.chunks_mut(LANES).zip(angles) {
                    // Arrays of a fixed size, so that they are deinterleaved in registers.
                    let mut lanes = [[0.0; 2]; LANES];
                    lanes[..pairs.len()].copy_from_slice(pairs);
                    let mut x = lanes.map(|[x, _]| x);
                    let mut y = lanes.map(|[_, y]| y);
                    rotate_lanes(isa, &mut x, &mut y, cos, sin);
                    let turned: [[f32; 2]; LANES] = std::array::from_fn(|lane| [x[lane], y[lane]]);
                    pairs.copy_from_slice(&turned[..pairs.len()]);
                }
            }
        }
    }
}

/// Rotates a vector of pairs `(x, y)`.
#[inline(always)]
fn rotate_lanes<I: Isa>(
    isa: I,
    x: &mut [f32; LANES],
    y: &mut [f32; LANES],
    cos: &[f32; LANES],
    sin: &[f32; LANES],
) {
    let a = isa.load(x);
    let b = isa.load(y);
    let cos = isa.load(cos);
    let sin = isa.load(sin);
    isa.store(x, isa.neg_mul_add(b, sin, isa.mul(a, cos)));
    isa.store(y, isa.mul_add(a, sin, isa.mul(b, cos)));
}
