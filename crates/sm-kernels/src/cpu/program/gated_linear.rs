//! Phases of gated products; shared out like those of [`linear`](super::linear).

use super::BoundKernel;
use super::binder::Binder;
use crate::cpu::arena::{Access, Footprint};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::isa::Isa;
use crate::cpu::ops::linear::GatedLinear;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::step::StepContext;
use crate::plan::{self, Activation, MatrixId, PrepareError};

/// A [`GatedLinear`] with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundGatedLinear {
    x: BufferRegions,
    gate: MatrixId,
    up: MatrixId,
    activation: Activation,
    out: BufferRegions,
}

pub(super) fn bind(op: &plan::GatedLinear, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    let &plan::GatedLinear { x, gate, up, activation, out } = op;
    let depth = binder.plan.matrix(gate).cols + binder.plan.matrix(up).cols;
    let x = binder.factor(binder.buffer(x), &[gate, up])?;
    let out = binder.output(out);
    let footprint = x.read(Footprint::default(), binder.limits);
    let footprint = out.write_products(footprint, binder.limits, depth);
    binder.push(BoundGatedLinear { x, gate, up, activation, out }, footprint);
    Ok(())
}

impl BoundKernel for BoundGatedLinear {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    ) {
        let linear = GatedLinear {
            x: self.x.input(access),
            gate: step.weights.matrix(self.gate),
            up: step.weights.matrix(self.up),
            activation: self.activation,
        };
        linear.run(isa, &mut self.out.output(access), workspace);
    }
}
