//! Keeps the rows with wanted outputs.

use crate::gpu::binder::{Binder, Phase, RowPhase, params};
use crate::gpu::kernel::{Binding, KernelSpec, Source};
use crate::plan::{GatherRows, PrepareError, Rows};

const BINDINGS: [Binding; 3] = [Binding::Read, Binding::Read, Binding::ReadWrite];

/// The kernel.
pub(super) fn spec() -> KernelSpec {
    let source = Source::default().text(include_str!("gather_rows.wgsl"));
    KernelSpec { name: "gather_rows", source, bindings: &BINDINGS }
}

pub(super) fn bind(binder: &Binder<'_>, op: &GatherRows) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let kernel = binder.gpu.kernel(&spec())?;
    let buffers =
        binder.gpu.bind(&kernel, &[binder.buffer(op.x), &binder.tables.output_rows, binder.buffer(op.out)]);
    let params = params(&[0, binder.widths(op.x).1]);
    Ok(vec![Box::new(RowPhase { kernel, buffers, rows: Rows::Outputs, width: 1, params })])
}
