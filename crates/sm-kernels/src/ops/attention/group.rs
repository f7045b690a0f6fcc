//! The attention of some queries to one group of positions.

use std::ops::Range;

use sm_tensor::PageId;

use super::schedule::{GROUP_LEN, Shape};
use crate::cpu::kv_element::{Codes, KvElement};
use crate::cpu::kv_pool::KvPages;
use crate::isa::{Isa, LANES};
use crate::ops::math;
use crate::plan::PAGE_LEN;

/// Pages in a group.
const GROUP_PAGES: usize = GROUP_LEN / PAGE_LEN;

/// Query rows, and the pages that they see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a, E> {
    /// `[n_rows][stride]`, from the first row and the first head of the tile.
    pub(super) q: &'a [f32],
    /// Values from one row to the next.
    pub(super) stride: usize,
    /// Number of rows.
    pub(super) n_rows: usize,
    /// Position of the first row.
    pub(super) position: usize,
    /// The pages of the layer.
    pub(super) kv: KvPages<'a, E>,
    /// The pages of the sequence, in order.
    pub(super) pages: &'a [PageId],
    /// The key head.
    pub(super) kv_head: usize,
    /// What else does not depend on the step.
    pub(super) fixed: Fixed,
}

/// The shape of an attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// Heads and window.
    pub(crate) shape: Shape,
    /// Values per head.
    pub(crate) head_dim: usize,
    /// Factor on the scores.
    pub(crate) scale: f32,
    /// Bound on the scores.
    pub(crate) soft_cap: Option<f32>,
}

impl Fixed {
    /// Values of a head in whole vectors.
    pub(super) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Values of the [`Partial`] of a tile.
    pub(super) fn partial_len(&self) -> usize {
        self.shape.tile_queries() * (2 + self.padded_dim())
    }
}

impl<E: KvElement> Tile<'_, E> {
    /// Number of query vectors: those of a row are neighbours.
    pub(super) fn n_queries(&self) -> usize {
        self.n_rows * self.fixed.shape.heads_per_kv
    }

    #[inline(always)]
    fn query(&self, query: usize) -> &[f32] {
        let heads_per_kv = self.fixed.shape.heads_per_kv;
        let start = query / heads_per_kv * self.stride + query % heads_per_kv * self.fixed.head_dim;
        &self.q[start..start + self.fixed.head_dim]
    }

    /// The positions of a group that a query sees, counted from the group's start.
    #[inline(always)]
    fn visible(&self, query: usize, group: usize) -> Range<usize> {
        let position = self.position + query / self.fixed.shape.heads_per_kv;
        let in_group = |position: usize| position.saturating_sub(group * GROUP_LEN).min(GROUP_LEN);
        let start = in_group(self.fixed.shape.first_visible(position));
        start..in_group(position + 1).max(start)
    }

    #[inline(always)]
    fn page(&self, group: usize, page: usize) -> (Codes<'_, E>, Codes<'_, E>) {
        self.kv.page(self.pages[group * GROUP_PAGES + page], self.kv_head)
    }

    /// What is read when the keys of the pages before `page` have been read. A head of a page is too short for the
    /// processor to see where reading goes on.
    #[inline(always)]
    fn after_keys(&self, group: usize, page: usize) -> &[[E; LANES]] {
        match page.checked_sub(self.n_pages(group)) {
            None => self.page(group, page).0.vectors,
            Some(over) => self.page(group, over.min(self.n_pages(group) - 1)).1.vectors,
        }
    }

    /// The same of values.
    #[inline(always)]
    fn after_values(&self, group: usize, page: usize) -> &[[E; LANES]] {
        match self.pages.get(group * GROUP_PAGES + page) {
            Some(_) if page < GROUP_PAGES => self.page(group, page).1.vectors,
            Some(_) => self.page(group, page).0.vectors,
            None => self.page(group, 0).1.vectors,
        }
    }

    /// Pages of a group.
    #[inline(always)]
    fn n_pages(&self, group: usize) -> usize {
        (self.pages.len() - group * GROUP_PAGES).min(GROUP_PAGES)
    }
}

/// The weighted values of some positions, not yet divided by the sum of the weights.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    /// `[n_queries]`: the largest score.
    pub(super) max: &'a mut [f32],
    /// `[n_queries]`: the sum of the weights `exp(score - max)`; 0 where the query sees none of the positions.
    pub(super) sum: &'a mut [f32],
    /// `[n_queries][padded_dim]`: the sum of weight × value.
    pub(super) values: &'a mut [f32],
}

impl<'a> Partial<'a> {
    /// Takes `memory` apart, [`Fixed::partial_len`] values.
    pub(super) fn new(memory: &'a mut [f32], fixed: &Fixed) -> Self {
        let n_queries = fixed.shape.tile_queries();
        let (max, rest) = memory.split_at_mut(n_queries);
        let (sum, values) = rest.split_at_mut(n_queries);
        Self { max, sum, values }
    }

    /// Forgets all positions.
    pub(super) fn clear(&mut self) {
        self.sum.fill(0.0);
    }

    /// Takes the values of another.
    pub(super) fn copy_from(&mut self, other: &Partial<'_>) {
        self.max.copy_from_slice(other.max);
        self.sum.copy_from_slice(other.sum);
        self.values.copy_from_slice(other.values);
    }
}

/// Computes the partial result of a group; `scores` is `[n_queries][GROUP_LEN]`.
#[inline(always)]
pub(super) fn attend<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    scores: &mut [f32],
    partial: &mut Partial<'_>,
) {
    let n_queries = tile.n_queries();
    let first = tile.visible(0, group).start;
    let end = tile.visible(n_queries - 1, group).end;
    let pages = if first < end { first / PAGE_LEN..end.div_ceil(PAGE_LEN) } else { 0..0 };
    let mut query = 0;
    while query < n_queries {
        let scores = &mut scores[query * GROUP_LEN..];
        query += match queries_at_once::<I>(n_queries - query) {
            4 => products::<I, E, 4>(isa, tile, (query, group), pages.clone(), scores),
            3 => products::<I, E, 3>(isa, tile, (query, group), pages.clone(), scores),
            2 => products::<I, E, 2>(isa, tile, (query, group), pages.clone(), scores),
            _ => products::<I, E, 1>(isa, tile, (query, group), pages.clone(), scores),
        };
    }
    for query in 0..n_queries {
        let scores = &mut scores[query * GROUP_LEN..][..GROUP_LEN];
        let weigh = Weigh { fixed: &tile.fixed, visible: tile.visible(query, group), pages: pages.clone() };
        (partial.max[query], partial.sum[query]) = weigh.run(isa, scores);
    }
    let padded_dim = tile.fixed.padded_dim();
    let mut query = 0;
    while query < n_queries {
        let (scores, out) = (&scores[query * GROUP_LEN..], &mut partial.values[query * padded_dim..]);
        query += match queries_at_once::<I>(n_queries - query) {
            4 => mix_all::<I, E, 4>(isa, tile, (query, group), scores, out),
            3 => mix_all::<I, E, 3>(isa, tile, (query, group), scores, out),
            2 => mix_all::<I, E, 2>(isa, tile, (query, group), scores, out),
            _ => mix_all::<I, E, 1>(isa, tile, (query, group), scores, out),
        };
    }
}

/// How many of `n_left` queries share what is read of a page: keys and values are widened once for all of them.
#[inline(always)]
fn queries_at_once<I: Isa>(n_left: usize) -> usize {
    match n_left {
        4.. if I::MANY_REGISTERS => 4,
        // Two and two are better than three and one.
        3 | 5.. => 3,
        n_left => n_left.min(2),
    }
}

/// The products of `Q` queries with the keys of some pages of a group, `[Q][GROUP_LEN]`; gives `Q`.
#[inline(always)]
fn products<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    (query, group): (usize, usize),
    pages: Range<usize>,
    scores: &mut [f32],
) -> usize {
    let mut page = pages.start;
    while page < pages.end {
        // Enough chains of additions at a time to hide their latency, and no more than there are registers.
        page += match pages.end - page {
            8.. if Q == 1 && I::MANY_REGISTERS => {
                block::<I, E, Q, 8>(isa, tile, (query, group), page, scores)
            }
            4.. if I::MANY_REGISTERS || Q == 1 => {
                block::<I, E, Q, 4>(isa, tile, (query, group), page, scores)
            }
            2.. => block::<I, E, Q, 2>(isa, tile, (query, group), page, scores),
            _ => block::<I, E, Q, 1>(isa, tile, (query, group), page, scores),
        };
    }
    Q
}

/// The products of `Q` queries with the keys of `P` pages; gives `P`.
#[inline(always)]
fn block<I: Isa, E: KvElement, const Q: usize, const P: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    (query, group): (usize, usize),
    page: usize,
    scores: &mut [f32],
) -> usize {
    let head_dim = tile.fixed.head_dim;
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &tile.query(query + q)[..head_dim]);
    let mut keys: [Codes<'_, E>; P] = std::array::from_fn(|p| tile.page(group, page + p).0);
    keys.iter_mut().for_each(|keys| keys.vectors = &keys.vectors[..head_dim]);
    let ahead: [&[[E; LANES]]; P] =
        std::array::from_fn(|p| &tile.after_keys(group, page + P + p)[..head_dim]);
    let mut sums = [[isa.splat(0.0); P]; Q];
    for d in 0..head_dim {
        let mut k = [isa.splat(0.0); P];
        for p in 0..P {
            k[p] = keys[p].key(isa, d);
            isa.prefetch(&raw const ahead[p][d]);
        }
        for q in 0..Q {
            let x = isa.splat(queries[q][d]);
            for p in 0..P {
                sums[q][p] = isa.mul_add(x, k[p], sums[q][p]);
            }
        }
    }
    for q in 0..Q {
        let scores = scores[q * GROUP_LEN + page * LANES..].as_chunks_mut::<LANES>().0;
        for p in 0..P {
            isa.store(&mut scores[p], sums[q][p]);
        }
    }
    P
}

/// Turns the products of one query into weights.
struct Weigh<'a> {
    fixed: &'a Fixed,
    visible: Range<usize>,
    pages: Range<usize>,
}

impl Weigh<'_> {
    /// Gives the largest score and the sum of the weights.
    #[inline(always)]
    fn run<I: Isa>(&self, isa: I, scores: &mut [f32]) -> (f32, f32) {
        let lowest = isa.splat(f32::NEG_INFINITY);
        if self.visible.is_empty() {
            return (f32::NEG_INFINITY, 0.0);
        }
        let pages = &mut scores.as_chunks_mut::<LANES>().0[self.pages.clone()];
        let mut max = lowest;
        for (index, page) in pages.iter_mut().enumerate() {
            let mut score = isa.mul(isa.load(page), isa.splat(self.fixed.scale));
            if let Some(cap) = self.fixed.soft_cap {
                let cap = isa.splat(cap);
                score = isa.mul(cap, math::tanh(isa, isa.div(score, cap)));
            }
            // Keys that the query must not see may be anything, also NaN: they are replaced, not multiplied away.
            let score = self.hide(isa, index, score, lowest);
            isa.store(page, score);
            max = isa.max(score, max);
        }
        let max = isa.max_lane(max);
        let mut sum = isa.splat(0.0);
        for (index, page) in pages.iter_mut().enumerate() {
            let weight = math::exp(isa, isa.sub(isa.load(page), isa.splat(max)));
            let weight = self.hide(isa, index, weight, isa.splat(0.0));
            isa.store(page, weight);
            sum = isa.add(sum, weight);
        }
        (max, isa.sum(sum))
    }

    /// `v` where the query sees the position, else `hidden`.
    #[inline(always)]
    fn hide<I: Isa>(&self, isa: I, index: usize, v: I::F32, hidden: I::F32) -> I::F32 {
        const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
        let first = ((self.pages.start + index) * LANES) as f32;
        let lane = isa.load(&LANE);
        let v = isa.select_lt(lane, isa.splat(self.visible.start as f32 - first), hidden, v);
        isa.select_lt(lane, isa.splat(self.visible.end as f32 - first), v, hidden)
    }
}

/// The weighted values of `Q` queries, `[Q][padded_dim]`; gives `Q`.
#[inline(always)]
fn mix_all<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    at: (usize, usize),
    weights: &[f32],
    out: &mut [f32],
) -> usize {
    let n_vectors = tile.fixed.padded_dim() / LANES;
    let mut vector = 0;
    while vector < n_vectors {
        vector += match n_vectors - vector {
            8.. if Q == 1 && I::MANY_REGISTERS => {
                mix::<I, E, Q, 8>(isa, tile, at, vector, (weights, &mut *out))
            }
            4.. if I::MANY_REGISTERS || Q == 1 => {
                mix::<I, E, Q, 4>(isa, tile, at, vector, (weights, &mut *out))
            }
            2.. => mix::<I, E, Q, 2>(isa, tile, at, vector, (weights, &mut *out)),
            _ => mix::<I, E, Q, 1>(isa, tile, at, vector, (weights, &mut *out)),
        };
    }
    Q
}

/// The same for `V` vectors of the values; gives `V`.
///
/// Only positions that a query sees are added: others would turn a value of infinity into NaN.
#[inline(always)]
fn mix<I: Isa, E: KvElement, const Q: usize, const V: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    (query, group): (usize, usize),
    vector: usize,
    (weights, out): (&[f32], &mut [f32]),
) -> usize {
    let n_vectors = tile.fixed.padded_dim() / LANES;
    let visible: [Range<usize>; Q] = std::array::from_fn(|q| tile.visible(query + q, group));
    let (first, end) = (visible[0].start, visible[Q - 1].end);
    let (all_from, all_to) = (visible[Q - 1].start, visible[0].end);
    let mut sums = [[isa.splat(0.0); V]; Q];
    let mut position = first;
    while position < end {
        let page = position / PAGE_LEN;
        let (values, ahead) = (tile.page(group, page).1, tile.after_values(group, page + 1));
        let page_end = end.min((page + 1) * PAGE_LEN);
        for position in position..page_end {
            let slot = position % PAGE_LEN;
            let v: [I::F32; V] = values.value(isa, (slot, n_vectors), vector);
            for i in 0..V {
                isa.prefetch((&raw const ahead[0]).wrapping_add(slot * n_vectors + vector + i));
            }
            let seen_by_all = all_from <= position && position < all_to;
            for q in 0..Q {
                if seen_by_all || visible[q].contains(&position) {
                    let weight = isa.splat(weights[q * GROUP_LEN + position]);
                    for i in 0..V {
                        sums[q][i] = isa.mul_add(weight, v[i], sums[q][i]);
                    }
                }
            }
        }
        position = page_end;
    }
    for q in 0..Q {
        let out = out[(q * n_vectors + vector) * LANES..].as_chunks_mut::<LANES>().0;
        for i in 0..V {
            isa.store(&mut out[i], sums[q][i]);
        }
    }
    V
}

/// Adds the positions of `part`, which come after those of `state`.
#[inline(always)]
pub(super) fn merge<I: Isa>(isa: I, n_queries: usize, state: &mut Partial<'_>, part: &Partial<'_>) {
    let padded_dim = state.values.len() / state.max.len();
    for query in 0..n_queries {
        let range = query * padded_dim..(query + 1) * padded_dim;
        let (values, added) = (&mut state.values[range.clone()], &part.values[range]);
        if part.sum[query] == 0.0 {
            continue;
        }
        if state.sum[query] == 0.0 {
            (state.max[query], state.sum[query]) = (part.max[query], part.sum[query]);
            values.copy_from_slice(added);
            continue;
        }
        let (a, b) = (isa.splat(state.max[query]), isa.splat(part.max[query]));
        let max = isa.max(a, b);
        let (keep, add) = (math::exp(isa, isa.sub(a, max)), math::exp(isa, isa.sub(b, max)));
        let sum = isa.mul_add(add, isa.splat(part.sum[query]), isa.mul(keep, isa.splat(state.sum[query])));
        (state.max[query], state.sum[query]) = (isa.max_lane(max), isa.max_lane(sum));
        for (value, added) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(added.as_chunks::<LANES>().0) {
            let sum = isa.mul_add(add, isa.load(added), isa.mul(keep, isa.load(value)));
            isa.store(value, sum);
        }
    }
}
