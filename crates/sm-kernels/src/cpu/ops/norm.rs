//! RMS norm and layer norm of rows.
//!
//! ```text
//! rms     x / sqrt(mean(x²) + eps) * weight                                    Zhang & Sennrich 2019
//! layer   (x - mean(x)) / sqrt(mean((x - mean(x))²) + eps) * weight + bias     Ba et al. 2016
//! ```
//!
//! Rows are split over workers. A row is small enough for L1, so layer norm takes two passes, mean first, and does not
//! subtract large sums of squares from each other; the division by the width is that of the row without its padding.

use super::reduce::{mask_tail, sum_vectors};
use crate::cpu::activations::RowWriter;
use crate::cpu::arena::{Access, Region};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::step::StepContext;
use crate::plan::{NormKind, Store, VectorId};

/// A norm with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    /// `[rows, width]`
    pub(crate) x: Region<f32>,
    /// Values of a row without its padding.
    pub(crate) width: usize,
    /// RMS or layer norm.
    pub(crate) kind: NormKind,
    /// `[width]`
    pub(crate) weight: VectorId,
    /// `[width]`
    pub(crate) bias: Option<VectorId>,
    /// Added to the mean square.
    pub(crate) eps: f32,
    /// Whether to replace or to add.
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
                    let mut out = RowWriter {
                        f32: f32.as_mut().map(|share| share.row_mut(row)),
                        int8: int8.as_mut().map(|share| share.row_mut(row)),
                        store: self.store,
                    };
                    self.normalise(isa, x, weight, bias, &mut out);
                }
            },
        );
    }

    #[inline(always)]
    fn normalise<I: Isa>(
        &self,
        isa: I,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        out: &mut RowWriter<'_>,
    ) {
        let vectors = x.as_chunks::<LANES>().0;
        let weight = weight.as_chunks::<LANES>().0;
        let mean = match self.kind {
            NormKind::Rms => isa.splat(0.0),
            NormKind::Layer => isa.splat(
                sum_vectors(
                    isa,
                    vectors.len(),
                    #[inline(always)]
                    |index, sum| isa.add(self.vector(isa, vectors, index), sum),
                ) / self.width as f32,
            ),
        };
        let square_sum = sum_vectors(
            isa,
            vectors.len(),
            #[inline(always)]
            |index, sum| {
                let v = mask_tail(
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

    /// Vector `index` of a row, with zeros for padding.
    #[inline(always)]
    fn vector<I: Isa>(&self, isa: I, vectors: &[[f32; LANES]], index: usize) -> I::F32 {
        mask_tail(isa, self.width - index * LANES, isa.load(&vectors[index]))
    }
}
