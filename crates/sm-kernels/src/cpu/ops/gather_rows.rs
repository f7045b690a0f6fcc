//! Gathers the rows whose outputs are wanted, so that the final norm and the output head compute nothing else.

use crate::cpu::arena::{Access, Region};
use crate::cpu::step::StepContext;

/// A gather with its regions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatherRows {
    /// `[n_tokens, width]`
    pub(crate) x: Region<f32>,
    /// `[n_outputs, width]`, by rows.
    pub(crate) out: Region<f32>,
}

impl GatherRows {
    /// Copies this worker's rows.
    pub(crate) fn run(&self, step: &StepContext<'_>, access: &Access<'_>) {
        let x = access.read(self.x);
        let mut out = access.share(self.out);
        for row in out.rows() {
            let from = step.batch.outputs[row].row as usize * self.x.stride();
            out.row_mut(row).copy_from_slice(&x[from..from + self.x.stride()]);
        }
    }
}
