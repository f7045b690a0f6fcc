//! Gates rows: each is multiplied by the sigmoid of a product.

use crate::gpu::binder::{Binder, Phase, RowPhase, params};
use crate::gpu::kernel::{Binding, KernelSpec, Source};
use crate::plan::{PrepareError, SigmoidGate, Store};

const BINDINGS: [Binding; 4] = [Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite];

/// The kernel.
pub(super) fn spec(store: Store) -> KernelSpec {
    let source = Source::default()
        .names(&super::STORE_NAMES)
        .number("STORE", super::store_number(store))
        .exchanging()
        .text(include_str!("sigmoid_gate.wgsl"));
    KernelSpec { name: "sigmoid_gate", source, bindings: &BINDINGS }
}

pub(super) fn bind(binder: &Binder<'_>, op: &SigmoidGate) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let kernel = binder.gpu.kernel(&spec(op.store))?;
    let buffers = binder.gpu.bind(
        &kernel,
        &[
            binder.buffer(op.x),
            binder.weights.vector(op.weight),
            binder.buffer(op.values),
            binder.buffer(op.out),
        ],
    );
    let (x_width, x_stride) = binder.widths(op.x);
    let (width, stride) = binder.widths(op.out);
    let params = params(&[0, x_width, x_stride, width, stride]);
    Ok(vec![Box::new(RowPhase { kernel, buffers, rows: binder.rows(op.x), width: 1, params })])
}
