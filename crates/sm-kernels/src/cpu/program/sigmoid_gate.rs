//! The phase of a gate.

use super::BoundKernel;
use super::binder::Binder;
use crate::cpu::arena::{Access, Footprint};
use crate::cpu::isa::Isa;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::ops::sigmoid_gate::SigmoidGate;
use crate::cpu::step::StepContext;
use crate::plan;

pub(super) fn bind(op: &plan::SigmoidGate, binder: &mut Binder<'_>) {
    let &plan::SigmoidGate { x, weight, values, store, out } = op;
    let in_features = binder.plan.buffer(x).width;
    let x = binder.values(x);
    let values = binder.values(values);
    let out = binder.output(out);
    let footprint = Footprint::default().read(binder.limits, x).read(binder.limits, values);
    let footprint = out.write_rows(footprint, binder.limits);
    binder.push(SigmoidGate { x, in_features, weight, values, store, out }, footprint);
}

impl BoundKernel for SigmoidGate {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        self.run(isa, step, access);
    }
}
