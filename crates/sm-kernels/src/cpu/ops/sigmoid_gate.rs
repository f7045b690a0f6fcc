//! Gates of rows: `sigmoid(weight · x) * values`.
//!
//! Rows are split over workers, as in a norm: a product with one output is no work for the matrix kernels.

use super::math::sigmoid;
use super::reduce::{mask_tail, sum_vectors};
use crate::cpu::activations::RowWriter;
use crate::cpu::arena::{Access, Region};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::step::StepContext;
use crate::plan::{Store, VectorId};

/// A gate with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigmoidGate {
    /// `[rows, in_features]`
    pub(crate) x: Region<f32>,
    /// Values of a row of `x` without its padding.
    pub(crate) in_features: usize,
    /// `[in_features]`
    pub(crate) weight: VectorId,
    /// `[rows, width]`
    pub(crate) values: Region<f32>,
    /// Whether to replace or to add.
    pub(crate) store: Store,
    /// `[rows, width]`, by rows.
    pub(crate) out: BufferRegions,
}

impl SigmoidGate {
    /// Computes this worker's rows.
    pub(crate) fn run<I: Isa>(&self, isa: I, step: &StepContext<'_>, access: &Access<'_>) {
        let x = access.read(self.x);
        let values = access.read(self.values);
        let weight = step.weights.vector(self.weight).as_chunks::<LANES>().0;
        let rows = access.worker().share(access.n_rows(self.x), 1);
        let mut f32 = self.out.f32.map(|region| access.share(region));
        let mut int8 = self.out.int8.map(|region| access.share(region));
        isa.enter(
            #[inline(always)]
            || {
                for row in rows {
                    let x = x[row * self.x.stride()..][..self.x.stride()].as_chunks::<LANES>().0;
                    let stride = self.values.stride();
                    let values = values[row * stride..][..stride].as_chunks::<LANES>().0;
                    let product = sum_vectors(
                        isa,
                        self.in_features.div_ceil(LANES),
                        #[inline(always)]
                        |index, sum| {
                            let x = mask_tail(isa, self.in_features - index * LANES, isa.load(&x[index]));
                            isa.mul_add(x, isa.load(&weight[index]), sum)
                        },
                    );
                    let gate = sigmoid(isa, isa.splat(product));
                    let mut out = RowWriter {
                        f32: f32.as_mut().map(|share| share.row_mut(row)),
                        int8: int8.as_mut().map(|share| share.row_mut(row)),
                        store: self.store,
                    };
                    out.write(
                        isa,
                        #[inline(always)]
                        |index| isa.mul(gate, isa.load(&values[index])),
                    );
                }
            },
        );
    }
}
