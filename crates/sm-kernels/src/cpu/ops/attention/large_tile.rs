//! Tiles of many queries, as in prompts: the keys or values of a page are widened once, and then read by all queries.
//!
//! ```text
//! for each page of the partition:
//!     wide = widen(keys)                             [head_dim][16], in L1
//!     for 8 queries at a time:                       6, 4, 2, 1 for what is left
//!         scores[q][page] = sum over d of q[q][d] * wide[d]
//!
//! for each page:
//!     wide = widen(values)                           [16][padded_dim]
//!     for 8 queries at a time:
//!         out[q] += sum over slots of exps[q][slot] * wide[slot]
//! ```
//!
//! Conversions are paid once per tile of 32 queries, and the loops are pure multiply-adds: one load of a vector, one
//! broadcast per query. Pages that all queries see whole have no masks; others go query by query.
//!
//! Widening a page together with the first queries' products gained nothing.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::ops::Range;

use super::tile::{PAGES_AHEAD, Tile, TileBuffers};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::kv_element::KvElement;
use crate::cpu::schedule::PARTITION_LEN;
use crate::plan::PAGE_LEN;

/// Runs a function for all queries, as many at a time as have their sums in registers.
macro_rules! for_queries {
    ($isa:ty, $n_queries:expr, |$query:ident| $function:ident::<$Q:ident>($($arg:expr),*)) => {
        let mut $query = 0;
        while $query < $n_queries {
            $query += match $n_queries - $query {
                8.. if <$isa>::HAS_32_REGISTERS => { $function::<$isa, 8>($($arg),*); 8 }
                6.. if <$isa>::HAS_32_REGISTERS => { $function::<$isa, 6>($($arg),*); 6 }
                4.. => { $function::<$isa, 4>($($arg),*); 4 }
                2.. => { $function::<$isa, 2>($($arg),*); 2 }
                _ => { $function::<$isa, 1>($($arg),*); 1 }
            };
        }
    };
}

/// Dot products of a tile's queries with the keys of some pages of a partition.
#[inline(always)]
pub(super) fn scores<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    pages: Range<usize>,
    buffers: &mut TileBuffers<'_>,
) {
    let n_queries = tile.n_queries();
    let head_dim = tile.config.head_dim;
    for (query, copy) in buffers.queries.chunks_exact_mut(head_dim).enumerate().take(n_queries) {
        copy.copy_from_slice(tile.query(query));
    }
    for page in pages {
        let keys = tile.page(partition, page).0;
        let ahead = &tile.after_keys(partition, page + PAGES_AHEAD)[..head_dim];
        let wide = &mut buffers.page.as_chunks_mut::<LANES>().0[..head_dim];
        for d in 0..head_dim {
            isa.prefetch_l2(&raw const ahead[d]);
            isa.store(&mut wide[d], keys.key(isa, d));
        }
        for_queries!(I, n_queries, |query| page_scores::<Q>(
            isa,
            &buffers.queries[query * head_dim..],
            wide,
            &mut buffers.scores[query * PARTITION_LEN + page * PAGE_LEN..]
        ));
    }
}

/// Scores of `Q` queries and a page; those of queries are [`PARTITION_LEN`] apart.
#[inline(always)]
fn page_scores<I: Isa, const Q: usize>(isa: I, queries: &[f32], keys: &[[f32; LANES]], scores: &mut [f32]) {
    let head_dim = keys.len();
    // Slices whose equal length the compiler can see: no bounds checks in the loop.
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
        let scores = scores[q * PARTITION_LEN..].first_chunk_mut().expect("a partition has whole pages");
        isa.store(scores, sums[q]);
    }
}

/// Values weighted by the exponentials in `buffers.scores`, added up: `out` is `[n_queries][padded_dim]`.
#[inline(always)]
pub(super) fn values_product<I: Isa, E: KvElement>(
    isa: I,
    tile: &Tile<'_, E>,
    partition: usize,
    pages: Range<usize>,
    buffers: &mut TileBuffers<'_>,
    out: &mut [f32],
) {
    let n_queries = tile.n_queries();
    let padded_dim = tile.config.padded_dim();
    let n_vectors = padded_dim / LANES;
    let seen_by_all = tile.visible(n_queries - 1, partition).start..tile.visible(0, partition).end;
    out[..n_queries * padded_dim].fill(0.0);
    for page in pages {
        let values = tile.page(partition, page).1;
        let ahead = tile.after_values(partition, page + PAGES_AHEAD);
        let wide = buffers.page.as_chunks_mut::<LANES>().0;
        for (slot, wide) in wide.chunks_exact_mut(n_vectors).enumerate() {
            for vector in 0..n_vectors {
                isa.prefetch_l2((&raw const ahead[0]).wrapping_add(slot * n_vectors + vector));
                let [value] = values.value::<I, 1>(isa, slot, n_vectors, vector);
                isa.store(&mut wide[vector], value);
            }
        }
        let first = page * PAGE_LEN;
        if seen_by_all.start <= first && first + PAGE_LEN <= seen_by_all.end {
            for_queries!(I, n_queries, |query| add_page::<Q>(
                isa,
                &buffers.scores[query * PARTITION_LEN + first..],
                wide,
                n_vectors,
                &mut out[query * padded_dim..]
            ));
        } else {
            for query in 0..n_queries {
                let visible = tile.visible(query, partition);
                let slots =
                    visible.start.saturating_sub(first)..visible.end.saturating_sub(first).min(PAGE_LEN);
                let exps = &buffers.scores[query * PARTITION_LEN + first..];
                add_slots(isa, exps, slots, wide, n_vectors, &mut out[query * padded_dim..]);
            }
        }
    }
}

/// Adds the weighted values of a page to the sums of `Q` queries that all see the whole page.
#[inline(always)]
fn add_page<I: Isa, const Q: usize>(
    isa: I,
    exps: &[f32],
    values: &[[f32; LANES]],
    n_vectors: usize,
    out: &mut [f32],
) {
    let exps: [&[f32; PAGE_LEN]; Q] = std::array::from_fn(|q| {
        exps[q * PARTITION_LEN..].first_chunk().expect("a partition has whole pages")
    });
    let out = &mut out.as_chunks_mut::<LANES>().0[..Q * n_vectors];
    for vector in 0..n_vectors {
        let mut sums = [isa.splat(0.0); Q];
        for q in 0..Q {
            sums[q] = isa.load(&out[q * n_vectors + vector]);
        }
        for (slot, values) in values.chunks_exact(n_vectors).take(PAGE_LEN).enumerate() {
            let value = isa.load(&values[vector]);
            for q in 0..Q {
                sums[q] = isa.mul_add(isa.splat(exps[q][slot]), value, sums[q]);
            }
        }
        for q in 0..Q {
            isa.store(&mut out[q * n_vectors + vector], sums[q]);
        }
    }
}

/// Adds the weighted values of some slots of a page to the sums of one query, which sees no others: zero times an
/// infinite value would be NaN.
#[inline(always)]
fn add_slots<I: Isa>(
    isa: I,
    exps: &[f32],
    slots: Range<usize>,
    values: &[[f32; LANES]],
    n_vectors: usize,
    out: &mut [f32],
) {
    for vector in 0..n_vectors {
        let out = &mut out.as_chunks_mut::<LANES>().0[vector];
        let mut sum = isa.load(out);
        for slot in slots.clone() {
            sum = isa.mul_add(isa.splat(exps[slot]), isa.load(&values[slot * n_vectors + vector]), sum);
        }
        isa.store(out, sum);
    }
}
