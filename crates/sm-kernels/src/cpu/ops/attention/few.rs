//! Few queries: keys and values are widened in registers, for all queries at once, and never stored.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::ops::Range;

use super::group::{AHEAD, Tile};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::{Codes, KvElement};
use crate::cpu::schedule::GROUP_LEN;
use crate::plan::PAGE_LEN;

/// The most queries that are few: no more than are worked on at a time, so that what is widened would be read once.
pub(super) const fn most_queries<I: Isa>() -> usize {
    if I::MANY_REGISTERS { 8 } else { 4 }
}

/// The most pages, or vectors of values, that `n_queries` are worked on with at a time: enough chains of additions to hide
/// their latency, and no more than there are registers.
const fn most_chains<I: Isa>(n_queries: usize) -> usize {
    match n_queries {
        1 if I::MANY_REGISTERS => 8,
        1 => 4,
        ..=6 if I::MANY_REGISTERS => 4,
        _ if I::MANY_REGISTERS => 2,
        ..=3 => 2,
        _ => 1,
    }
}

/// Calls a function for the number of queries, which are few.
macro_rules! for_number {
    ($isa:ty, $element:ty, $n_queries:expr, $function:ident($($arg:expr),*)) => {
        match $n_queries {
            8.. if <$isa>::MANY_REGISTERS => $function::<$isa, $element, 8>($($arg),*),
            7 if <$isa>::MANY_REGISTERS => $function::<$isa, $element, 7>($($arg),*),
            6 if <$isa>::MANY_REGISTERS => $function::<$isa, $element, 6>($($arg),*),
            5 if <$isa>::MANY_REGISTERS => $function::<$isa, $element, 5>($($arg),*),
            4.. => $function::<$isa, $element, 4>($($arg),*),
            3 => $function::<$isa, $element, 3>($($arg),*),
            2 => $function::<$isa, $element, 2>($($arg),*),
            _ => $function::<$isa, $element, 1>($($arg),*),
        }
    };
}

/// The products of a tile's queries with the keys of some pages of a group, `[n_queries][GROUP_LEN]`.
#[inline(always)]
pub(super) fn products<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    pages: Range<usize>,
    scores: &mut [f32],
) {
    for_number!(I, E, tile.n_queries(), products_of(isa, tile, group, pages, scores));
}

#[inline(always)]
fn products_of<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    pages: Range<usize>,
    scores: &mut [f32],
) {
    let most = const { most_chains::<I>(Q) };
    let mut page = pages.start;
    while page < pages.end {
        page += match pages.end - page {
            8.. if most >= 8 => block::<I, E, Q, 8>(isa, tile, group, page, scores),
            4.. if most >= 4 => block::<I, E, Q, 4>(isa, tile, group, page, scores),
            2.. if most >= 2 => block::<I, E, Q, 2>(isa, tile, group, page, scores),
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
        std::array::from_fn(|p| &tile.after_keys(group, page + AHEAD.max(P) + p)[..head_dim]);
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
    for_number!(I, E, tile.n_queries(), mix_of(isa, tile, group, weights, out));
}

#[inline(always)]
fn mix_of<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    weights: &[f32],
    out: &mut [f32],
) {
    let most = const { most_chains::<I>(Q) };
    let n_vectors = tile.fixed.padded_dim() / LANES;
    let mut vector = 0;
    while vector < n_vectors {
        vector += match n_vectors - vector {
            8.. if most >= 8 => vectors::<I, E, Q, 8>(isa, tile, group, vector, (weights, &mut *out)),
            4.. if most >= 4 => vectors::<I, E, Q, 4>(isa, tile, group, vector, (weights, &mut *out)),
            2.. if most >= 2 => vectors::<I, E, Q, 2>(isa, tile, group, vector, (weights, &mut *out)),
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
    let seen_by_all = visible[Q - 1].start..visible[0].end;
    let mut sums = [[isa.splat(0.0); V]; Q];
    for page in visible[0].start / PAGE_LEN..visible[Q - 1].end.div_ceil(PAGE_LEN) {
        let values = tile.page(group, page).1;
        let ahead = tile.after_values(group, page + AHEAD);
        let first = page * PAGE_LEN;
        let weights: [&[f32; PAGE_LEN]; Q] = std::array::from_fn(|q| {
            weights[q * GROUP_LEN + first..].first_chunk().expect("a group has whole pages")
        });
        let whole = seen_by_all.start <= first && first + PAGE_LEN <= seen_by_all.end;
        for slot in 0..PAGE_LEN {
            let v: [I::F32; V] = values.value(isa, (slot, n_vectors), vector);
            for i in 0..V {
                isa.prefetch((&raw const ahead[0]).wrapping_add(slot * n_vectors + vector + i));
            }
            for q in 0..Q {
                if whole || visible[q].contains(&(first + slot)) {
                    let weight = isa.splat(weights[q][slot]);
                    for i in 0..V {
                        sums[q][i] = isa.mul_add(weight, v[i], sums[q][i]);
                    }
                }
            }
        }
    }
    for q in 0..Q {
        let out = out[(q * n_vectors + vector) * LANES..].as_chunks_mut::<LANES>().0;
        for i in 0..V {
            isa.store(&mut out[i], sums[q][i]);
        }
    }
    V
}
