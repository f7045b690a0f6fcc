//! Tiles of few queries, as in decoding: keys and values are widened in registers for all queries at once.
//!
//! ```text
//! scores           for d in 0..head_dim:   k[p] = widen(keys[p][d])               P pages, 16 positions each
//!                                          sums[q][p] += q[q][d] * k[p]           Q × P sums
//!
//! values product   for each position:      v[i] = widen(values[position][i])      V vectors of the head
//!                                          sums[q][i] += exps[q][position] * v[i] Q × V sums
//! ```
//!
//! Every key and value is read once and converted once, for all query heads of a key head (GQA). The bound is reading them,
//! so pages are prefetched [`PAGES_AHEAD`]. Q × P, and Q × V, are enough chains to hide the latency of multiply-adds and
//! no more than there are registers: see [`max_chains`].
//!
//! With more queries than [`max_queries`] a page would be widened once per group of queries; then `large_tile.rs` widens it
//! into memory. It used to do so for all tiles of more than four: one token behind 1,024 positions then took a quarter longer
//! with 8 query heads to a key head.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::ops::Range;

use super::tile::{PAGES_AHEAD, Tile};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::{HeadPage, KvElement};
use crate::cpu::schedule::PARTITION_LEN;
use crate::plan::PAGE_LEN;

/// The most queries of a small tile: as many as can be worked on at a time.
pub(super) const fn max_queries<I: Isa>() -> usize {
    if I::HAS_32_REGISTERS { 8 } else { 4 }
}

/// The most pages, or vectors of values, that `n_queries` are multiplied with at a time.
const fn max_chains<I: Isa>(n_queries: usize) -> usize {
    match n_queries {
        1 if I::HAS_32_REGISTERS => 8,
        1 => 4,
        ..=6 if I::HAS_32_REGISTERS => 4,
        _ if I::HAS_32_REGISTERS => 2,
        ..=3 => 2,
        _ => 1,
    }
}

/// Calls a function compiled for the number of queries.
macro_rules! for_number {
    ($isa:ty, $element:ty, $n_queries:expr, $function:ident($($arg:expr),*)) => {
        match $n_queries {
            8.. if <$isa>::HAS_32_REGISTERS => $function::<$isa, $element, 8>($($arg),*),
            7 if <$isa>::HAS_32_REGISTERS => $function::<$isa, $element, 7>($($arg),*),
            6 if <$isa>::HAS_32_REGISTERS => $function::<$isa, $element, 6>($($arg),*),
            5 if <$isa>::HAS_32_REGISTERS => $function::<$isa, $element, 5>($($arg),*),
            4.. => $function::<$isa, $element, 4>($($arg),*),
            3 => $function::<$isa, $element, 3>($($arg),*),
            2 => $function::<$isa, $element, 2>($($arg),*),
            _ => $function::<$isa, $element, 1>($($arg),*),
        }
    };
}

/// Dot products of a tile's queries with the keys of some pages of a partition, `[n_queries][PARTITION_LEN]`.
#[inline(always)]
pub(super) fn scores<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    pages: Range<usize>,
    scores: &mut [f32],
) {
    for_number!(I, E, tile.n_queries(), scores_of(isa, tile, partition, pages, scores));
}

#[inline(always)]
fn scores_of<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    pages: Range<usize>,
    scores: &mut [f32],
) {
    let most = const { max_chains::<I>(Q) };
    let mut page = pages.start;
    while page < pages.end {
        page += match pages.end - page {
            8.. if most >= 8 => page_scores::<I, E, Q, 8>(isa, tile, partition, page, scores),
            4.. if most >= 4 => page_scores::<I, E, Q, 4>(isa, tile, partition, page, scores),
            2.. if most >= 2 => page_scores::<I, E, Q, 2>(isa, tile, partition, page, scores),
            _ => page_scores::<I, E, Q, 1>(isa, tile, partition, page, scores),
        };
    }
}

/// Scores of `Q` queries and `P` pages. Returns `P`.
#[inline(always)]
fn page_scores<I: Isa, E: KvElement, const Q: usize, const P: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    page: usize,
    scores: &mut [f32],
) -> usize {
    let head_dim = tile.config.head_dim;
    let queries: [&[f32]; Q] = std::array::from_fn(|q| &tile.query(q)[..head_dim]);
    let mut keys: [HeadPage<'_, E>; P] = std::array::from_fn(|p| tile.page(partition, page + p).0);
    keys.iter_mut().for_each(|keys| keys.vectors = &keys.vectors[..head_dim]);
    let ahead: [&[[E; LANES]]; P] =
        std::array::from_fn(|p| &tile.after_keys(partition, page + PAGES_AHEAD.max(P) + p)[..head_dim]);
    let mut sums = [[isa.splat(0.0); P]; Q];
    for d in 0..head_dim {
        let mut k = [isa.splat(0.0); P];
        for p in 0..P {
            k[p] = keys[p].key(isa, d);
            isa.prefetch_l2(&raw const ahead[p][d]);
        }
        for q in 0..Q {
            let x = isa.splat(queries[q][d]);
            for p in 0..P {
                sums[q][p] = isa.mul_add(x, k[p], sums[q][p]);
            }
        }
    }
    for q in 0..Q {
        let scores = scores[q * PARTITION_LEN + page * LANES..].as_chunks_mut::<LANES>().0;
        for p in 0..P {
            isa.store(&mut scores[p], sums[q][p]);
        }
    }
    P
}

/// Values weighted by `exps`, added up: `out` is `[n_queries][padded_dim]`.
#[inline(always)]
pub(super) fn values_product<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    exps: &[f32],
    out: &mut [f32],
) {
    for_number!(I, E, tile.n_queries(), values_product_of(isa, tile, partition, exps, out));
}

#[inline(always)]
fn values_product_of<I: Isa, E: KvElement, const Q: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    exps: &[f32],
    out: &mut [f32],
) {
    let most = const { max_chains::<I>(Q) };
    let n_vectors = tile.config.padded_dim() / LANES;
    let mut vector = 0;
    while vector < n_vectors {
        vector += match n_vectors - vector {
            8.. if most >= 8 => vectors_product::<I, E, Q, 8>(isa, tile, partition, vector, exps, out),
            4.. if most >= 4 => vectors_product::<I, E, Q, 4>(isa, tile, partition, vector, exps, out),
            2.. if most >= 2 => vectors_product::<I, E, Q, 2>(isa, tile, partition, vector, exps, out),
            _ => vectors_product::<I, E, Q, 1>(isa, tile, partition, vector, exps, out),
        };
    }
}

/// The values product of `V` vectors of a head from `vector` on. Returns `V`.
///
/// Only positions that a query sees are added: zero times an infinite value would be NaN.
#[inline(always)]
fn vectors_product<I: Isa, E: KvElement, const Q: usize, const V: usize>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    vector: usize,
    exps: &[f32],
    out: &mut [f32],
) -> usize {
    let n_vectors = tile.config.padded_dim() / LANES;
    let visible: [Range<usize>; Q] = std::array::from_fn(|q| tile.visible(q, partition));
    let seen_by_all = visible[Q - 1].start..visible[0].end;
    let mut sums = [[isa.splat(0.0); V]; Q];
    for page in visible[0].start / PAGE_LEN..visible[Q - 1].end.div_ceil(PAGE_LEN) {
        let values = tile.page(partition, page).1;
        let ahead = tile.after_values(partition, page + PAGES_AHEAD);
        let first = page * PAGE_LEN;
        let exps: [&[f32; PAGE_LEN]; Q] = std::array::from_fn(|q| {
            exps[q * PARTITION_LEN + first..].first_chunk().expect("a partition has whole pages")
        });
        let whole = seen_by_all.start <= first && first + PAGE_LEN <= seen_by_all.end;
        for slot in 0..PAGE_LEN {
            let v: [I::F32; V] = values.value(isa, slot, n_vectors, vector);
            for i in 0..V {
                isa.prefetch_l2((&raw const ahead[0]).wrapping_add(slot * n_vectors + vector + i));
            }
            for q in 0..Q {
                if whole || visible[q].contains(&(first + slot)) {
                    let exp = isa.splat(exps[q][slot]);
                    for i in 0..V {
                        sums[q][i] = isa.mul_add(exp, v[i], sums[q][i]);
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
