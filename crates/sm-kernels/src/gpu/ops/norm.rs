//! RMS norm and layer norm of rows.

use crate::gpu::binder::{Binder, Phase, RowPhase, params};
use crate::gpu::kernel::{Binding, KernelSpec, Source};
use crate::plan::{Norm, NormKind, PrepareError, Store};

const BINDINGS: [Binding; 4] = [Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite];

/// The kernel.
pub(super) fn spec(kind: NormKind, has_bias: bool, store: Store) -> KernelSpec {
    let source = Source::default()
        .names(&super::STORE_NAMES)
        .number("STORE", super::store_number(store))
        .flag("IS_LAYER", kind == NormKind::Layer)
        .flag("HAS_BIAS", has_bias)
        .exchanging()
        .text(include_str!("norm.wgsl"));
    KernelSpec { name: "norm", source, bindings: &BINDINGS }
}

pub(super) fn bind(binder: &Binder<'_>, op: &Norm) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let kernel = binder.gpu.kernel(&spec(op.kind, op.bias.is_some(), op.store))?;
    let bias = op.bias.map_or(binder.nothing, |bias| binder.weights.vector(bias));
    let buffers = binder
        .gpu
        .bind(&kernel, &[binder.buffer(op.x), binder.weights.vector(op.weight), bias, binder.buffer(op.out)]);
    let (width, stride) = binder.widths(op.x);
    let params = params(&[0, width, stride, op.eps.to_bits()]);
    Ok(vec![Box::new(RowPhase { kernel, buffers, rows: binder.rows(op.x), width: 1, params })])
}
