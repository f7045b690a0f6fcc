//! The phase of a norm.

use super::BoundKernel;
use super::binder::Binder;
use crate::cpu::arena::{Access, Footprint};
use crate::cpu::isa::Isa;
use crate::cpu::ops::norm::Norm;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::step::StepContext;
use crate::plan;

pub(super) fn bind(op: &plan::Norm, binder: &mut Binder<'_>) {
    let &plan::Norm { x, kind, weight, bias, eps, store, out } = op;
    let width = binder.plan.buffer(x).width;
    let x = binder.values(x);
    let out = binder.output(out);
    let footprint = out.write_rows(Footprint::default().read(binder.limits, x), binder.limits);
    binder.push(Norm { x, width, kind, weight, bias, eps, store, out }, footprint);
}

impl BoundKernel for Norm {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        self.run(isa.without_dots(), step, access);
    }
}
