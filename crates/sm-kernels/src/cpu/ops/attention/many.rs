//! Many queries: the keys or values of a page are widened once, and then read by all queries.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::ops::Range;

use super::group::{AHEAD, Tile, Work};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::KvElement;
use crate::cpu::schedule::GROUP_LEN;
use crate::plan::PAGE_LEN;

/// Runs a function for all queries, as many at a time as have their sums in registers.
macro_rules! for_queries {
    ($isa:ty, $n_queries:expr, |$query:ident| $function:ident::<$Q:ident>($($arg:expr),*)) => {
        let mut $query = 0;
        while $query < $n_queries {
            $query += match $n_queries - $query {
                8.. if <$isa>::MANY_REGISTERS => { $function::<$isa, 8>($($arg),*); 8 }
                6.. if <$isa>::MANY_REGISTERS => { $function::<$isa, 6>($($arg),*); 6 }
                4.. => { $function::<$isa, 4>($($arg),*); 4 }
                2.. => { $function::<$isa, 2>($($arg),*); 2 }
                _ => { $function::<$isa, 1>($($arg),*); 1 }
            };
        }
    };
}

/// The products of a tile's queries with the keys of some pages of a group.
#[inline(always)]
pub(super) fn products<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    pages: Range<usize>,
    work: &mut Work<'_>,
) {
    let n_queries = tile.n_queries();
    let head_dim = tile.fixed.head_dim;
    for (query, copy) in work.queries.chunks_exact_mut(head_dim).enumerate().take(n_queries) {
        copy.copy_from_slice(tile.query(query));
    }
    for page in pages {
        let keys = tile.page(group, page).0;
        let ahead = &tile.after_keys(group, page + AHEAD)[..head_dim];
        let wide = &mut work.page.as_chunks_mut::<LANES>().0[..head_dim];
        for d in 0..head_dim {
            isa.prefetch(&raw const ahead[d]);
            isa.store(&mut wide[d], keys.key(isa, d));
        }
        for_queries!(I, n_queries, |query| page_products::<Q>(
            isa,
            &work.queries[query * head_dim..],
            wide,
            &mut work.scores[query * GROUP_LEN + page * PAGE_LEN..]
        ));
    }
}

/// The products of `Q` queries with the keys of a page; scores of queries are [`GROUP_LEN`] apart.
#[inline(always)]
fn page_products<I: Isa, const Q: usize>(isa: I, queries: &[f32], keys: &[[f32; LANES]], scores: &mut [f32]) {
    let head_dim = keys.len();
    // Slices of one length, of which the compiler knows: no bound is checked in the loop.
    let mut rows: [&[f32]; Q] = [&[]; Q];
    for q in 0..Q {
        rows[q] = &queries[q * head_dim..][..head_dim];
    }
    let mut sums = [isa.splat(0.0); Q];
    for d in 0..head_dim {
        let k = isa.load(&keys[d]);
        for q in 0..Q {
            sums[q] = isa.mul_add(isa.splat(rows[q][d]), k, sums[q]);
        }
    }
    for q in 0..Q {
        isa.store(scores[q * GROUP_LEN..].first_chunk_mut().expect("a group has whole pages"), sums[q]);
    }
}

/// The weighted values of a tile's queries, `[n_queries][padded_dim]`.
#[inline(always)]
pub(super) fn mix<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    group: usize,
    pages: Range<usize>,
    (work, out): (&mut Work<'_>, &mut [f32]),
) {
    let n_queries = tile.n_queries();
    let padded_dim = tile.fixed.padded_dim();
    let n_vectors = padded_dim / LANES;
    let seen_by_all = tile.visible(n_queries - 1, group).start..tile.visible(0, group).end;
    out[..n_queries * padded_dim].fill(0.0);
    for page in pages {
        let values = tile.page(group, page).1;
        let ahead = tile.after_values(group, page + AHEAD);
        let wide = work.page.as_chunks_mut::<LANES>().0;
        for (slot, wide) in wide.chunks_exact_mut(n_vectors).enumerate() {
            for vector in 0..n_vectors {
                isa.prefetch((&raw const ahead[0]).wrapping_add(slot * n_vectors + vector));
                let [value] = values.value::<I, 1>(isa, (slot, n_vectors), vector);
                isa.store(&mut wide[vector], value);
            }
        }
        let first = page * PAGE_LEN;
        if seen_by_all.start <= first && first + PAGE_LEN <= seen_by_all.end {
            for_queries!(I, n_queries, |query| page_values::<Q>(
                isa,
                &work.scores[query * GROUP_LEN + first..],
                (wide, n_vectors),
                &mut out[query * padded_dim..]
            ));
        } else {
            for query in 0..n_queries {
                let visible = tile.visible(query, group);
                let slots =
                    visible.start.saturating_sub(first)..visible.end.saturating_sub(first).min(PAGE_LEN);
                let weights = &work.scores[query * GROUP_LEN + first..];
                add_seen(isa, weights, slots, (wide, n_vectors), &mut out[query * padded_dim..]);
            }
        }
    }
}

/// Adds the weighted values of a page to those of `Q` queries, all of which see the whole page.
#[inline(always)]
fn page_values<I: Isa, const Q: usize>(
    isa: I,
    weights: &[f32],
    (values, n_vectors): (&[[f32; LANES]], usize),
    out: &mut [f32],
) {
    let weights: [&[f32; PAGE_LEN]; Q] =
        std::array::from_fn(|q| weights[q * GROUP_LEN..].first_chunk().expect("a group has whole pages"));
    let out = &mut out.as_chunks_mut::<LANES>().0[..Q * n_vectors];
    for vector in 0..n_vectors {
        let mut sums = [isa.splat(0.0); Q];
        for q in 0..Q {
            sums[q] = isa.load(&out[q * n_vectors + vector]);
        }
        for (slot, values) in values.chunks_exact(n_vectors).take(PAGE_LEN).enumerate() {
            let value = isa.load(&values[vector]);
            for q in 0..Q {
                sums[q] = isa.mul_add(isa.splat(weights[q][slot]), value, sums[q]);
            }
        }
        for q in 0..Q {
            isa.store(&mut out[q * n_vectors + vector], sums[q]);
        }
    }
}

/// The same for one query, which sees some slots of the page: others would turn a value of infinity into NaN.
#[inline(always)]
fn add_seen<I: Isa>(
    isa: I,
    weights: &[f32],
    slots: Range<usize>,
    (values, n_vectors): (&[[f32; LANES]], usize),
    out: &mut [f32],
) {
    for vector in 0..n_vectors {
        let out = &mut out.as_chunks_mut::<LANES>().0[vector];
        let mut sum = isa.load(out);
        for slot in slots.clone() {
            sum = isa.mul_add(isa.splat(weights[slot]), isa.load(&values[slot * n_vectors + vector]), sum);
        }
        isa.store(out, sum);
    }
}
