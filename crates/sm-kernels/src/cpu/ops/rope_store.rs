//! Rotary embedding and the KV write: splits q, k and v, normalises and rotates q and k, stores k and v in the pages.
//!
//! ```text
//! qkv row     │ q heads │ k heads │ v heads │
//!               norm      norm                     RMS per head, where the model has it (Qwen3, Gemma 3)
//!               rotate    rotate                   (x, y) → (x cos a - y sin a, y cos a + x sin a)
//!                 │         └─────────┴──► page    keys [head_dim][16], values [16][head_dim]
//!                 └──► q buffer
//! ```
//!
//! A worker has tiles of (rows that go to one page, key head) with the query heads of that key head: each element of a page is
//! written by one worker, and rows of one page are written together.
//!
//! Angles are `position * inv_freq` in double precision, once per step for all layers, [`RopeAngles`]. A table of all positions
//! of a long context would not fit a cache. Scaled variants (linear, Llama 3, YaRN) differ in `inv_freq` and in a factor on
//! cosine and sine alone, which the plan holds.
//!
//! Sources: RoFormer (Su et al. 2021), YaRN (Peng et al. 2023). `Halves` pairs dimension `i` with `i + n`, as GPT-NeoX and
//! Hugging Face's Llama do; `Adjacent` pairs `2i` with `2i + 1`, as the paper does.

use super::reduce::sum_vectors;
use crate::cpu::arena::{Access, Region};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::KvElement;
use crate::cpu::step::StepContext;
use crate::plan::{RopePairs, RopeTable, VectorId};

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
            for (frequency, (cosine, sine)) in self.table.inv_freq.iter().zip(cosines.iter_mut().zip(sines)) {
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
    /// `[head_dim]`
    pub(crate) q_norm: Option<VectorId>,
    /// `[head_dim]`
    pub(crate) k_norm: Option<VectorId>,
    /// Epsilon of the two norms.
    pub(crate) norm_eps: f32,
    /// Number of key heads.
    pub(crate) n_kv_heads: usize,
    /// Values of a head.
    pub(crate) head_dim: usize,
    /// Query heads per key head.
    pub(crate) heads_per_kv: usize,
}

/// What happens to a head before it is written.
struct Transform<'a> {
    norm: Option<&'a [f32]>,
    /// Cosines, then sines; empty if the head is not rotated.
    angles: &'a [f32],
}

impl RopeStore {
    /// Computes this worker's page runs and heads.
    pub(crate) fn run<I: Isa, E: KvElement>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let qkv = access.read(self.qkv);
        let angles = self.rotation.map(|rotation| (access.read(rotation.angles), rotation.angles.stride()));
        let [q_norm, k_norm] = [self.q_norm, self.k_norm].map(|norm| norm.map(|id| step.weights.vector(id)));
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
                        let (q_out, padding) = q.row_mut(tile, row).split_at_mut(q_len);
                        padding.fill(0.0);
                        let q_in = &qkv[kv_head * q_len..][..q_len];
                        for (x, out) in q_in.chunks_exact(head_dim).zip(q_out.chunks_exact_mut(head_dim)) {
                            self.transform(isa, x, &Transform { norm: q_norm, angles }, head);
                            out.copy_from_slice(&head[..head_dim]);
                        }
                        let k = &qkv[self.n_kv_heads * q_len + kv_head * head_dim..][..head_dim];
                        self.transform(isa, k, &Transform { norm: k_norm, angles }, head);
                        E::store_key(isa, pages.page_mut(tile).0, head_dim, slot, head);
                        let v = &qkv[self.n_kv_heads * (q_len + head_dim) + kv_head * head_dim..][..head_dim];
                        self.transform(isa, v, &Transform { norm: None, angles: &[] }, head);
                        E::store_value(isa, pages.page_mut(tile).1, slot, head);
                    }
                }
            },
        );
    }

    /// Writes a head to `out`, normalised, rotated, and padded with zeros.
    #[inline(always)]
    fn transform<I: Isa>(&self, isa: I, x: &[f32], transform: &Transform<'_>, out: &mut [f32]) {
        let (head, padding) = out.split_at_mut(x.len());
        head.copy_from_slice(x);
        padding.fill(0.0);
        if let Some(weight) = transform.norm {
            let vectors = out.as_chunks_mut::<LANES>().0;
            let square_sum = sum_vectors(
                isa,
                vectors.len(),
                #[inline(always)]
                |index, sum| isa.mul_add(isa.load(&vectors[index]), isa.load(&vectors[index]), sum),
            );
            let mean_square = square_sum / x.len() as f32;
            let inverse = isa.splat(1.0 / (mean_square + self.norm_eps).sqrt());
            for (v, weight) in vectors.iter_mut().zip(weight.as_chunks().0) {
                let normal = isa.mul(isa.mul(isa.load(v), inverse), isa.load(weight));
                isa.store(v, normal);
            }
        }
        if let Some(rotation) = self.rotation.filter(|_| !transform.angles.is_empty()) {
            rotation.rotate(isa, out, transform.angles);
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
