//! The phase that gathers rows.

use super::BoundKernel;
use super::binder::Binder;
use crate::cpu::arena::{Access, Footprint};
use crate::cpu::isa::Isa;
use crate::cpu::ops::gather_rows::GatherRows;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::split::By;
use crate::cpu::step::StepContext;
use crate::plan;

pub(super) fn bind(op: &plan::GatherRows, binder: &mut Binder<'_>) {
    let x = binder.values(op.x);
    let out = binder.output_values(op.out);
    let footprint = Footprint::default().read(binder.limits, x).write(binder.limits, out, By::Rows(1));
    binder.push(GatherRows { x, out }, footprint);
}

impl BoundKernel for GatherRows {
    fn run<I: Isa>(
        &self,
        _isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        self.run(step, access);
    }
}
