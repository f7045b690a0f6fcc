//! Attention of a tile to one partition of positions, and the merge of two partitions.
//!
//! ```text
//! s_j = scale * q · k_j                      scores; soft-capped if the model has it, -inf where masked
//! m   = max s_j
//! l   = sum exp(s_j - m)                     softmax, not divided
//! o   = sum exp(s_j - m) * v_j               values product
//!
//! merge:   m = max(m1, m2),   l = e1 l1 + e2 l2,   o = e1 o1 + e2 o2,   e_i = exp(m_i - m)
//! ```
//!
//! The three parts run one after the other over up to 256 positions, so that the exponentials are vectorised over positions
//! and each query is rescaled once per partition instead of once per position.
//!
//! Sources: online softmax (Milakov & Gimelshein 2018), FlashAttention (Dao et al. 2022).

use std::ops::Range;

use super::tile::{AttentionConfig, SoftmaxState, Tile, TileBuffers};
use super::{large_tile, small_tile};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::KvElement;
use crate::cpu::ops::math;
use crate::cpu::schedule::PARTITION_LEN;
use crate::plan::PAGE_LEN;

/// Attends the queries of a tile to a partition.
#[inline(always)]
pub(super) fn attend<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    buffers: &mut TileBuffers<'_>,
    state: &mut SoftmaxState<'_>,
) {
    let n_queries = tile.n_queries();
    let first = tile.visible(0, partition).start;
    let end = tile.visible(n_queries - 1, partition).end;
    let pages = if first < end { first / PAGE_LEN..end.div_ceil(PAGE_LEN) } else { 0..0 };
    if n_queries <= small_tile::max_queries::<I>() {
        small_tile::scores(isa, tile, partition, pages.clone(), buffers.scores);
    } else {
        large_tile::scores(isa, tile, partition, pages.clone(), buffers);
    }
    for query in 0..n_queries {
        let scores = &mut buffers.scores[query * PARTITION_LEN..][..PARTITION_LEN];
        let mask = Mask { visible: tile.visible(query, partition), pages: pages.clone() };
        let (max, sum) = softmax(isa, &tile.config, &mask, scores);
        state.max[query] = max;
        state.sum[query] = sum;
    }
    if n_queries <= small_tile::max_queries::<I>() {
        small_tile::values_product(isa, tile, partition, buffers.scores, state.values);
    } else {
        large_tile::values_product(isa, tile, partition, pages, buffers, state.values);
    }
}

/// The positions of a partition that one query sees.
struct Mask {
    visible: Range<usize>,
    /// Pages of the partition that hold what any query of the tile sees.
    pages: Range<usize>,
}

impl Mask {
    /// `v` where the query sees the position, else `hidden`. `index` counts the mask's pages.
    #[inline(always)]
    fn apply<I: Isa>(&self, isa: I, index: usize, v: I::F32, hidden: I::F32) -> I::F32 {
        const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
        let first = (self.pages.start + index) * LANES;
        if self.visible.start <= first && first + LANES <= self.visible.end {
            return v;
        }
        let first = first as f32;
        let lane = isa.load(&LANE);
        let v = isa.select_lt(lane, isa.splat(self.visible.start as f32 - first), hidden, v);
        isa.select_lt(lane, isa.splat(self.visible.end as f32 - first), v, hidden)
    }
}

/// Turns the dot products of one query into `exp(score - max)`. Returns the largest score and the sum of the exponentials.
#[inline(always)]
fn softmax<I: Isa>(isa: I, config: &AttentionConfig, mask: &Mask, scores: &mut [f32]) -> (f32, f32) {
    let lowest = isa.splat(f32::NEG_INFINITY);
    if mask.visible.is_empty() {
        return (f32::NEG_INFINITY, 0.0);
    }
    let pages = &mut scores.as_chunks_mut::<LANES>().0[mask.pages.clone()];
    let mut max = lowest;
    for (index, page) in pages.iter_mut().enumerate() {
        let mut score = isa.mul(isa.load(page), isa.splat(config.scale));
        if let Some(cap) = config.soft_cap {
            let cap = isa.splat(cap);
            score = isa.mul(cap, math::tanh(isa, isa.div(score, cap)));
        }
        // Keys that the query must not see may be anything, NaN included: they are replaced, not multiplied away.
        let score = mask.apply(isa, index, score, lowest);
        isa.store(page, score);
        max = isa.max(score, max);
    }
    let max = isa.reduce_max(max);
    let mut sum = isa.splat(0.0);
    for (index, page) in pages.iter_mut().enumerate() {
        let exp = math::exp(isa, isa.sub(isa.load(page), isa.splat(max)));
        let exp = mask.apply(isa, index, exp, isa.splat(0.0));
        isa.store(page, exp);
        sum = isa.add(sum, exp);
    }
    (max, isa.reduce_sum(sum))
}

/// Adds the positions of `part`, which come after those of `state`.
#[inline(always)]
pub(super) fn merge<I: Isa>(isa: I, n_queries: usize, state: &mut SoftmaxState<'_>, part: &SoftmaxState<'_>) {
    let padded_dim = state.values.len() / state.max.len();
    for query in 0..n_queries {
        let range = query * padded_dim..(query + 1) * padded_dim;
        let values = &mut state.values[range.clone()];
        let added = &part.values[range];
        if part.sum[query] == 0.0 {
            continue;
        }
        if state.sum[query] == 0.0 {
            state.max[query] = part.max[query];
            state.sum[query] = part.sum[query];
            values.copy_from_slice(added);
            continue;
        }
        let a = isa.splat(state.max[query]);
        let b = isa.splat(part.max[query]);
        let max = isa.max(a, b);
        let keep = math::exp(isa, isa.sub(a, max));
        let add = math::exp(isa, isa.sub(b, max));
        let sum = isa.mul_add(add, isa.splat(part.sum[query]), isa.mul(keep, isa.splat(state.sum[query])));
        state.max[query] = isa.reduce_max(max);
        state.sum[query] = isa.reduce_max(sum);
        for (value, added) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(added.as_chunks::<LANES>().0) {
            let sum = isa.mul_add(add, isa.load(added), isa.mul(keep, isa.load(value)));
            isa.store(value, sum);
        }
    }
}
