//! Phases of an embedding.

use super::BoundKernel;
use super::binder::Binder;
use crate::cpu::arena::{Access, Footprint};
use crate::cpu::isa::Isa;
use crate::cpu::ops::embed::Embed;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::split::By;
use crate::cpu::step::StepContext;
use crate::plan::{self, PrepareError};

pub(super) fn bind(op: &plan::Embed, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    let &plan::Embed { table, positions, scale, out } = op;
    let out = binder.output_values(out);
    let work = binder.per_worker(out.stride())?;
    let footprint = Footprint::default().write(binder.limits, out, By::Rows(1));
    let footprint = footprint.write(binder.limits, work, By::Rows(1));
    binder.push(Embed { table, positions, scale, out, work }, footprint);
    Ok(())
}

impl BoundKernel for Embed {
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
