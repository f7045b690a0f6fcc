//! The attention of some queries to one group of positions.

use std::ops::Range;

use sm_tensor::PageId;

use super::{few, many};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::{Codes, KvElement};
use crate::cpu::kv_pool::KvPages;
use crate::cpu::ops::math;
use crate::cpu::schedule::{GROUP_LEN, Shape};
use crate::plan::PAGE_LEN;

/// Pages in a group.
const GROUP_PAGES: usize = GROUP_LEN / PAGE_LEN;

/// Pages between the one that is read and the one that is asked for: what is computed with so many takes longer than memory
/// needs to answer.
pub(super) const AHEAD: usize = 4;

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

    /// Values of the [`Work`] of a tile.
    pub(super) fn work_len(&self) -> usize {
        let n_queries = self.shape.tile_queries();
        n_queries * (GROUP_LEN + self.padded_dim()) + PAGE_LEN * self.padded_dim()
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
    pub(super) fn query(&self, query: usize) -> &[f32] {
        let heads_per_kv = self.fixed.shape.heads_per_kv;
        let start = query / heads_per_kv * self.stride + query % heads_per_kv * self.fixed.head_dim;
        &self.q[start..start + self.fixed.head_dim]
    }

    /// The positions of a group that a query sees, counted from the group's start.
    #[inline(always)]
    pub(super) fn visible(&self, query: usize, group: usize) -> Range<usize> {
        let position = self.position + query / self.fixed.shape.heads_per_kv;
        let in_group = |position: usize| position.saturating_sub(group * GROUP_LEN).min(GROUP_LEN);
        let start = in_group(self.fixed.shape.first_visible(position));
        start..in_group(position + 1).max(start)
    }

    #[inline(always)]
    pub(super) fn page(&self, group: usize, page: usize) -> (Codes<'_, E>, Codes<'_, E>) {
        self.kv.page(self.pages[group * GROUP_PAGES + page], self.kv_head)
    }

    /// What is read when the keys of the pages before `page` have been read: to be asked for [`AHEAD`] pages before, for a
    /// head of a page is too short for the processor to see where reading goes on.
    #[inline(always)]
    pub(super) fn after_keys(&self, group: usize, page: usize) -> &[[E; LANES]] {
        match page.checked_sub(self.n_pages(group)) {
            None => self.page(group, page).0.vectors,
            Some(over) => self.page(group, over.min(self.n_pages(group) - 1)).1.vectors,
        }
    }

    /// The same of values.
    #[inline(always)]
    pub(super) fn after_values(&self, group: usize, page: usize) -> &[[E; LANES]] {
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

/// What a worker needs to compute a group.
#[derive(Debug)]
pub(super) struct Work<'a> {
    /// `[n_queries][GROUP_LEN]`: products, then weights.
    pub(super) scores: &'a mut [f32],
    /// `[n_queries][head_dim]`: copies of the queries.
    pub(super) queries: &'a mut [f32],
    /// `[PAGE_LEN][padded_dim]` or `[head_dim][PAGE_LEN]`: the values or keys of a page, widened.
    pub(super) page: &'a mut [f32],
}

impl<'a> Work<'a> {
    /// Takes the first [`Fixed::work_len`] values of `memory`, and gives the rest.
    pub(super) fn new(memory: &'a mut [f32], fixed: &Fixed) -> (Self, &'a mut [f32]) {
        let n_queries = fixed.shape.tile_queries();
        let (scores, rest) = memory.split_at_mut(n_queries * GROUP_LEN);
        let (queries, rest) = rest.split_at_mut(n_queries * fixed.padded_dim());
        let (page, rest) = rest.split_at_mut(PAGE_LEN * fixed.padded_dim());
        (Self { scores, queries, page }, rest)
    }
}

/// Computes the partial result of a group.
#[inline(always)]
pub(super) fn attend<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    work: &mut Work<'_>,
    partial: &mut Partial<'_>,
) {
    let n_queries = tile.n_queries();
    let first = tile.visible(0, group).start;
    let end = tile.visible(n_queries - 1, group).end;
    let pages = if first < end { first / PAGE_LEN..end.div_ceil(PAGE_LEN) } else { 0..0 };
    if n_queries <= few::most_queries::<I>() {
        few::products(isa, tile, group, pages.clone(), work.scores);
    } else {
        many::products(isa, tile, group, pages.clone(), work);
    }
    for query in 0..n_queries {
        let scores = &mut work.scores[query * GROUP_LEN..][..GROUP_LEN];
        let weigh = Weigh { fixed: &tile.fixed, visible: tile.visible(query, group), pages: pages.clone() };
        (partial.max[query], partial.sum[query]) = weigh.run(isa, scores);
    }
    if n_queries <= few::most_queries::<I>() {
        few::mix(isa, tile, group, work.scores, partial.values);
    } else {
        many::mix(isa, tile, group, pages, (work, partial.values));
    }
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

/// Adds the positions of `part`, which come after those of `state`.
#[inline(always)]
pub(super) fn merge<I: Isa>(isa: I, n_queries: usize, state: &mut Partial<'_>, part: &Partial<'_>) {
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
        state.max[query] = isa.max_lane(max);
        state.sum[query] = isa.max_lane(sum);
        for (value, added) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(added.as_chunks::<LANES>().0) {
            let sum = isa.mul_add(add, isa.load(added), isa.mul(keep, isa.load(value)));
            isa.store(value, sum);
        }
    }
}
