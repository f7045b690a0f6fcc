//! Takes the rows that the caller brings.

use super::BoundKernel;
use super::binder::Binder;
use crate::cpu::arena::{Access, Footprint, Region};
use crate::cpu::isa::Isa;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::split::By;
use crate::cpu::step::StepContext;
use crate::plan::Input;

/// Copies the step's input into a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputRows {
    /// Values of a row.
    width: usize,
    /// `[n_tokens, width]`, by rows.
    out: Region<f32>,
}

pub(super) fn bind(op: &Input, binder: &mut Binder<'_>) {
    let width = binder.plan.buffer(op.out).width;
    let out = binder.output_values(op.out);
    let footprint = Footprint::default().write(binder.limits, out, By::Rows(1));
    binder.push(InputRows { width, out }, footprint);
}

impl BoundKernel for InputRows {
    fn run<I: Isa>(
        &self,
        _isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        let input = step.batch.input.expect("the batch was checked");
        let mut out = access.share(self.out);
        for row in out.rows() {
            let (values, padding) = out.row_mut(row).split_at_mut(self.width);
            values.copy_from_slice(&input[row * self.width..][..self.width]);
            padding.fill(0.0);
        }
    }
}
