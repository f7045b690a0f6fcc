//! Sums over a row.
//!
//! ```text
//! chain c = v[c] + v[c + 4] + v[c + 8] + ...        c = 0..4, lane by lane
//! sum     = reduce((chain 0 + chain 1) + (chain 2 + chain 3))
//! ```
//!
//! Four chains hide the latency of an addition, four cycles on current x86-64. Their number is fixed, and so is the order of
//! additions: a row has the same sum on every instruction set.

use crate::cpu::isa::{Isa, LANES};

/// Independent chains of additions: vector `i` goes to chain `i % N_CHAINS`.
const N_CHAINS: usize = 4;

/// Adds up `n` vectors: vector `index` is added to its chain by `add(index, sum so far)`.
#[inline(always)]
pub(crate) fn sum_vectors<I: Isa>(isa: I, n: usize, add: impl Fn(usize, I::F32) -> I::F32) -> f32 {
    let mut sums = [isa.splat(0.0); N_CHAINS];
    for index in 0..n {
        sums[index % N_CHAINS] = add(index, sums[index % N_CHAINS]);
    }
    isa.reduce_sum(isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3])))
}

/// `v` with zeros after the first `n_values` lanes: the padding of a row's last vector may hold anything.
#[inline(always)]
pub(crate) fn mask_tail<I: Isa>(isa: I, n_values: usize, v: I::F32) -> I::F32 {
    const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    if LANES <= n_values {
        v
    } else {
        isa.select_lt(isa.load(&LANE), isa.splat(n_values as f32), v, isa.splat(0.0))
    }
}
