//! Pairs of products of which one gates the other.
//!
//! ```text
//! product    gates, and beside them what they multiply, into scratch memory: one matrix on the device
//! gated      multiplies them, and encodes the results for the product that follows
//! ```

use super::encode;
use super::linear::{EPILOGUES, Product, epilogue_constants};
use crate::gpu::binder::{Binder, Phase, RowPhase, params, stride};
use crate::gpu::kernel::{Binding, KernelSpec, Source};
use crate::plan::{Epilogue, GatedLinear, PrepareError};

const BINDINGS: [Binding; 3] = [Binding::Read, Binding::ReadWrite, Binding::ReadWrite];

/// Columns of a workgroup.
const COLUMNS: usize = 256;

/// The kernel that multiplies, with an epilogue as [`epilogue_constants`] gives it.
pub(super) fn spec(epilogue: usize, encodes: bool) -> KernelSpec {
    let source = Source::default()
        .names(&EPILOGUES)
        .number("EPILOGUE", epilogue)
        .number("COLUMNS", COLUMNS)
        .text(include_str!("activation.wgsl"))
        .text(include_str!("gated.wgsl"));
    let bindings = &BINDINGS[..if encodes { 3 } else { 2 }];
    KernelSpec { name: "gated", source: encode::add_to(source, encodes.then_some(2)), bindings }
}

pub(super) fn bind(binder: &Binder<'_>, op: &GatedLinear) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let matrix = binder.weights.pair(op.gate, op.up);
    let width = binder.plan.buffer(op.out).width;
    let products = &binder.scratch.gated;
    let product = Product {
        x: op.x,
        matrix,
        bias: None,
        epilogue: Epilogue::None,
        store: 0,
        out: products,
        out_width: 2 * width,
    };
    let mut phases = product.bind(binder)?;
    let (epilogue, values) = epilogue_constants(Epilogue::Activation(op.activation));
    let blocks = binder.blocks(op.out);
    let kernel = binder.gpu.kernel(&spec(epilogue, blocks.is_some()))?;
    let mut buffers = vec![products, binder.buffer(op.out)];
    buffers.extend(blocks);
    let buffers = binder.gpu.bind(&kernel, &buffers);
    let mut params = params(&[0, width as u32, stride(2 * width) as u32, stride(width) as u32]);
    params[4..8].copy_from_slice(&values.map(f32::to_bits));
    let width = width.div_ceil(COLUMNS) as u32;
    phases.push(Box::new(RowPhase { kernel, buffers, rows: binder.rows(op.out), width, params }));
    Ok(phases)
}
