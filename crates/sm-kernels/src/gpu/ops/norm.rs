//! RMS norm and layer norm of rows.

use super::encode;
use crate::gpu::binder::{Binder, Phase, RowPhase, params};
use crate::gpu::kernel::{Binding, KernelSpec, Source};
use crate::plan::{Norm, NormKind, PrepareError, Store};

const BINDINGS: [Binding; 5] =
    [Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite, Binding::ReadWrite];

/// The kernel.
pub(super) fn spec(kind: NormKind, has_bias: bool, store: Store, encodes: bool) -> KernelSpec {
    let source = Source::default()
        .names(&super::STORE_NAMES)
        .number("STORE", super::store_number(store))
        .flag("IS_LAYER", kind == NormKind::Layer)
        .flag("HAS_BIAS", has_bias)
        .exchanging()
        .text(include_str!("norm.wgsl"));
    let bindings = &BINDINGS[..if encodes { 5 } else { 4 }];
    KernelSpec { name: "norm", source: encode::add_to(source, encodes.then_some(4)), bindings }
}

pub(super) fn bind(binder: &Binder<'_>, op: &Norm) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let blocks = binder.blocks(op.out);
    let kernel = binder.gpu.kernel(&spec(op.kind, op.bias.is_some(), op.store, blocks.is_some()))?;
    let bias = op.bias.map_or(binder.nothing, |bias| binder.weights.vector(bias));
    let mut buffers =
        vec![binder.buffer(op.x), binder.weights.vector(op.weight), bias, binder.buffer(op.out)];
    buffers.extend(blocks);
    let buffers = binder.gpu.bind(&kernel, &buffers);
    let (width, stride) = binder.widths(op.x);
    let params = params(&[0, width, stride, op.eps.to_bits()]);
    Ok(vec![Box::new(RowPhase { kernel, buffers, rows: binder.rows(op.x), width: 1, params })])
}
