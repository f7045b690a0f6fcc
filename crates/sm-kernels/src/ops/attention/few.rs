//! Few queries: keys and values are widened in registers, for all queries at once, and never stored.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::ops::Range;

use super::group::Tile;
use super::schedule::GROUP_LEN;
use crate::cpu::kv_element::{Codes, KvElement};
use crate::isa::{Isa, LANES};
use crate::plan::PAGE_LEN;

/// The most queries that are few.
pub(super) const MOST_QUERIES: usize = 4;

/// The products of a tile's queries with the keys of some pages of a group, `[n_queries][GROUP_LEN]`.
#[inline(always)]
pub(super) fn products<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    pages: Range<usize>,
    scores: &mut [f32],
) {
    match tile.n_queries() {
        4.. => products_of::<I, E, 4>(isa, tile, group, pages, scores),
        3 => products_of::<I, E, 3>(isa, tile, group, pages, scores),
        2 => products_of::<I, E, 2>(isa, tile, group, pages, scores),
        _ => products_of::<I, E, 1>(isa, tile, group, pages, scores),
    }
}

#[inline(always)]
fn products_of<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    pages: Range<usize>,
    scores: &mut [f32],
) {
    let mut page = pages.start;
    while page < pages.end {
        // Enough chains of additions at a time to hide their latency, and no more than there are registers.
        page += match pages.end - page {
            8.. if Q == 1 && I::MANY_REGISTERS => block::<I, E, Q, 8>(isa, tile, group, page, scores),
            4.. if I::MANY_REGISTERS || Q == 1 => block::<I, E, Q, 4>(isa, tile, group, page, scores),
            2.. if I::MANY_REGISTERS || Q <= 3 => block::<I, E, Q, 2>(isa, tile, group, page, scores),
            _ => block::<I, E, Q, 1>(isa, tile, group, page, scores),
        };
    }
}

/// The products of `Q` queries with the keys of `P` pages; gives `P`.
#[inline(always)]
fn block<I: Isa, E: KvElement, const Q: usize, const P: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    page: usize,
    scores: &mut [f32],
) -> usize {
    let head_dim = tile.fixed.head_dim;
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &tile.query(q)[..head_dim]);
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

/// The weighted values of a tile's queries, `[n_queries][padded_dim]`.
#[inline(always)]
pub(super) fn mix<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    weights: &[f32],
    out: &mut [f32],
) {
    match tile.n_queries() {
        4.. => mix_of::<I, E, 4>(isa, tile, group, weights, out),
        3 => mix_of::<I, E, 3>(isa, tile, group, weights, out),
        2 => mix_of::<I, E, 2>(isa, tile, group, weights, out),
        _ => mix_of::<I, E, 1>(isa, tile, group, weights, out),
    }
}

#[inline(always)]
fn mix_of<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    weights: &[f32],
    out: &mut [f32],
) {
    let n_vectors = tile.fixed.padded_dim() / LANES;
    let mut vector = 0;
    while vector < n_vectors {
        vector += match n_vectors - vector {
            8.. if Q == 1 && I::MANY_REGISTERS => {
                vectors::<I, E, Q, 8>(isa, tile, group, vector, (weights, &mut *out))
            }
            4.. if I::MANY_REGISTERS || Q == 1 => {
                vectors::<I, E, Q, 4>(isa, tile, group, vector, (weights, &mut *out))
            }
            2.. if I::MANY_REGISTERS || Q <= 3 => {
                vectors::<I, E, Q, 2>(isa, tile, group, vector, (weights, &mut *out))
            }
            _ => vectors::<I, E, Q, 1>(isa, tile, group, vector, (weights, &mut *out)),
        };
    }
}

/// `V` vectors of the weighted values; gives `V`.
///
/// Only positions that a query sees are added: others would turn a value of infinity into NaN.
#[inline(always)]
fn vectors<I: Isa, E: KvElement, const Q: usize, const V: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    vector: usize,
    (weights, out): (&[f32], &mut [f32]),
) -> usize {
    let n_vectors = tile.fixed.padded_dim() / LANES;
    let visible: [Range<usize>; Q] = std::array::from_fn(|q| tile.visible(q, group));
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
