//! Normalisation of rows.
//!
//! ```text
//! rms:   x / sqrt(mean(x^2) + eps) * weight
//! layer: (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias
//! ```

use super::row_out::RowOut;
use crate::cpu::arena::{Access, Region};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::step::StepContext;
use crate::plan::{NormKind, Store, VectorId};

/// Independent chains of additions: vector `i` goes to chain `i % N_CHAINS`.
const N_CHAINS: usize = 4;

/// A norm with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// `[rows, width]`
    pub(crate) x: Region<f32>,
    /// Values per row, without padding.
    pub(crate) width: usize,
    /// Which normalisation.
    pub(crate) kind: NormKind,
    /// `[width]`
    pub(crate) weight: VectorId,
    /// `[width]`
    pub(crate) bias: Option<VectorId>,
    /// Added to the mean square.
    pub(crate) eps: f32,
    /// Replace or add.
    pub(crate) store: Store,
    /// `[rows, width]`, by rows.
    pub(crate) out: BufferRegions,
}

impl Norm {
    /// Computes this worker's rows.
    pub(crate) fn run<I: Isa>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let x = access.read(self.x);
        let weight = step.weights.vector(self.weight);
        let bias = self.bias.map(|id| step.weights.vector(id));
        let rows = access.worker().share(access.n_rows(self.x), 1);
        let mut f32 = self.out.f32.map(|region| access.share(region));
        let mut int8 = self.out.int8.map(|region| access.share(region));
        isa.enter(
            #[inline(always)]
            || {
                for row in rows {
                    let x = &x[row * self.x.stride()..][..self.x.stride()];
                    let mut out = RowOut {
                        f32: f32.as_mut().map(|share| share.row_mut(row)),
                        int8: int8.as_mut().map(|share| share.row_mut(row)),
                        store: self.store,
                    };
                    self.row(isa, x, (weight, bias), &mut out);
                }
            },
        );
    }

    #[inline(always)]
    fn row<I: Isa>(&self, isa: I, x: &[f32], (weight, bias): (&[f32], Option<&[f32]>), out: &mut RowOut<'_>) {
        let vectors = x.as_chunks::<LANES>().0;
        let weight = weight.as_chunks::<LANES>().0;
        let mean = match self.kind {
            NormKind::Rms => isa.splat(0.0),
            NormKind::Layer => isa.splat(
                chains(
                    isa,
                    vectors.len(),
                    #[inline(always)]
                    |index, sum| isa.add(self.vector(isa, vectors, index), sum),
                ) / self.width as f32,
            ),
        };
        let square_sum = chains(
            isa,
            vectors.len(),
            #[inline(always)]
            |index, sum| {
                let v = hide_padding(
                    isa,
                    self.width - index * LANES,
                    isa.sub(self.vector(isa, vectors, index), mean),
                );
                isa.mul_add(v, v, sum)
            },
        );
        let inverse = isa.splat(1.0 / (square_sum / self.width as f32 + self.eps).sqrt());
        out.write(
            isa,
            #[inline(always)]
            |index| {
                let v = isa.mul(isa.sub(self.vector(isa, vectors, index), mean), inverse);
                match bias {
                    None => isa.mul(v, isa.load(&weight[index])),
                    Some(bias) => {
                        isa.mul_add(v, isa.load(&weight[index]), isa.load(&bias.as_chunks().0[index]))
                    }
                }
            },
        );
    }
}

impl Norm {
    /// A vector of a row, with zeros for padding.
    #[inline(always)]
    fn vector<I: Isa>(&self, isa: I, vectors: &[[f32; LANES]], index: usize) -> I::F32 {
        hide_padding(isa, self.width - index * LANES, isa.load(&vectors[index]))
    }
}

/// Adds up `n` vectors, each by `add(index, sum so far)`, in a fixed number of chains.
#[inline(always)]
pub(crate) fn chains<I: Isa>(isa: I, n: usize, add: impl Fn(usize, I::F32) -> I::F32) -> f32 {
    let mut sums = [isa.splat(0.0); N_CHAINS];
    for index in 0..n {
        sums[index % N_CHAINS] = add(index, sums[index % N_CHAINS]);
    }
    isa.sum(isa.add(isa.add(sums[0], sums[1]), isa.add(sums[2], sums[3])))
}

/// `v` with zeros after the first `n_values` lanes.
#[inline(always)]
pub(crate) fn hide_padding<I: Isa>(isa: I, n_values: usize, v: I::F32) -> I::F32 {
    const LANE: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    if LANES <= n_values {
        v
    } else {
        isa.select_lt(isa.load(&LANE), isa.splat(n_values as f32), v, isa.splat(0.0))
    }
}
