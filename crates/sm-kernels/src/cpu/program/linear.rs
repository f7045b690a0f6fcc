//! Phases of matrix products.
//!
//! The result is shared out by columns, which are rows of the weights: every worker reads its own part of the matrix, and
//! memory bandwidth is what a few rows cost. Large products are cut into more parts than there are workers, so that one
//! that was interrupted leaves some to the others.

use super::BoundKernel;
use super::binder::Binder;
use crate::cpu::arena::{Access, Footprint};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::isa::Isa;
use crate::cpu::ops::linear::Linear;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::step::StepContext;
use crate::plan::{self, Epilogue, MatrixId, PrepareError, Store, VectorId};

/// A [`Linear`] with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundLinear {
    pub(super) x: BufferRegions,
    pub(super) weight: MatrixId,
    pub(super) bias: Option<VectorId>,
    pub(super) epilogue: Epilogue,
    pub(super) store: Store,
    pub(super) out: BufferRegions,
}

pub(super) fn bind(op: &plan::Linear, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    let &plan::Linear { x, weight, bias, epilogue, store, out } = op;
    let depth = binder.plan.matrix(weight).cols;
    let x = binder.factor(binder.buffer(x), &[weight])?;
    let out = binder.output(out);
    let footprint = x.read(Footprint::default(), binder.limits);
    let footprint = out.write_products(footprint, binder.limits, depth);
    binder.push(BoundLinear { x, weight, bias, epilogue, store, out }, footprint);
    Ok(())
}

impl BoundKernel for BoundLinear {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    ) {
        let linear = Linear {
            x: self.x.input(access),
            weight: step.weights.matrix(self.weight),
            bias: self.bias.map(|id| step.weights.vector(id)),
            epilogue: self.epilogue,
            store: self.store,
        };
        linear.run(isa, &mut self.out.output(access), workspace);
    }
}
