//! Matrix products, and pairs of them of which one gates the other.
//!
//! ```text
//! rows     kernel
//! 1        linear_vector, 1 row: 8 lanes an output
//! 2 to 8   linear_vector, 4 rows: weights are read once for 4 rows
//! more     linear_tile: 32 rows by 32 outputs a workgroup
//! ```
//!
//! All give a row the same bits: `gpu.rs` has the order of the sums. A gate is a product of its own into scratch memory, and the
//! other product multiplies by what it finds there; both in one kernel would take twice the registers.

use std::sync::Arc;

use crate::gpu::binder::{Binder, Params, Phase, Recorder, params, stride};
use crate::gpu::form::Form;
use crate::gpu::kernel::{Binding, Kernel, KernelSpec, Source};
use crate::gpu::step::Extents;
use crate::gpu::weights::MatrixPiece;
use crate::plan::{
    Activation, BufferId, Epilogue, GatedLinear, Linear, MatrixId, PrepareError, Rows, VectorId, Xielu,
};

const BINDINGS: [Binding; 7] = [
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
];

/// Strips that the columns are dealt to.
const STRIPS: usize = 8;
/// Rows up to which the kernel for few rows is used.
const MAX_VECTOR_ROWS: u32 = 8;

/// A product with all that belongs to it.
struct Product<'a> {
    x: BufferId,
    weight: MatrixId,
    bias: Option<VectorId>,
    epilogue: Epilogue,
    store: usize,
    /// What the result is multiplied by, as wide as the output.
    factor: &'a wgpu::Buffer,
    out: &'a wgpu::Buffer,
    /// Values of a row of the output.
    out_width: usize,
}

/// The text of a kernel for some numbers of rows.
struct Text {
    name: &'static str,
    /// Rows that a lane has.
    n_rows: usize,
    /// Whether an output is the sum of several lanes.
    exchanges: bool,
    text: &'static str,
}

const ONE_ROW: Text =
    Text { name: "linear of one row", n_rows: 1, exchanges: true, text: include_str!("linear_vector.wgsl") };
const FEW_ROWS: Text = Text { name: "linear of few rows", n_rows: 4, ..ONE_ROW };
const MANY_ROWS: Text =
    Text { name: "linear of many rows", n_rows: 4, exchanges: false, text: include_str!("linear_tile.wgsl") };

/// What a kernel does with a sum.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// As [`epilogue_constants`] gives it.
    pub(super) epilogue: usize,
    /// A place in [`STORE_NAMES`](super::STORE_NAMES).
    pub(super) store: usize,
    pub(super) has_bias: bool,
}

/// What all kernels of products begin with.
pub(super) fn constants(form: Form, end: End) -> Source {
    form.source()
        .names(&EPILOGUES)
        .number("EPILOGUE", end.epilogue)
        .names(&super::STORE_NAMES)
        .number("STORE", end.store)
        .flag("HAS_BIAS", end.has_bias)
        .number("STRIPS", STRIPS)
}

fn spec(form: Form, end: End, text: &Text) -> KernelSpec {
    let source = constants(form, end).number("ROWS", text.n_rows);
    let source = if text.exchanges { source.exchanging() } else { source };
    let source = source.text(include_str!("epilogue.wgsl")).text(text.text);
    KernelSpec { name: text.name, source, bindings: &BINDINGS }
}

/// The kernels for a form, with each epilogue and each way to store.
#[cfg(test)]
pub(super) fn samples(form: Form) -> Vec<KernelSpec> {
    let ends = (0..EPILOGUES.len()).map(|epilogue| End {
        epilogue,
        store: epilogue % 3,
        has_bias: epilogue % 2 == 0,
    });
    ends.flat_map(|end| [ONE_ROW, FEW_ROWS, MANY_ROWS].map(|text| spec(form, end, &text))).collect()
}

/// The kernels and buffers of a piece of a matrix.
#[derive(Debug)]
struct LinearPhase {
    one_row: Variant,
    few_rows: Variant,
    many_rows: Variant,
    rows: Rows,
    n_outputs: u32,
    params: Params,
}

/// A kernel bound to its buffers.
#[derive(Debug)]
struct Variant {
    kernel: Arc<Kernel>,
    buffers: wgpu::BindGroup,
}

impl Phase for LinearPhase {
    fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents) {
        let n_rows = extents.of(self.rows);
        let mut params = self.params;
        params[0] = n_rows;
        let n_outputs = self.n_outputs;
        let (variant, grid) = match n_rows {
            0 | 1 => (&self.one_row, [n_outputs.div_ceil(8), n_rows, 1]),
            2..=MAX_VECTOR_ROWS => (&self.few_rows, [n_outputs.div_ceil(8), n_rows.div_ceil(4), 1]),
            _ => (&self.many_rows, [n_outputs.div_ceil(32), n_rows.div_ceil(32), 1]),
        };
        recorder.dispatch(&variant.kernel, &variant.buffers, &params, grid);
    }
}

pub(super) fn bind(binder: &Binder<'_>, op: &Linear) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let Linear { x, weight, bias, epilogue, store, out } = *op;
    let store = super::store_number(store);
    let factor = binder.nothing;
    let out_width = binder.plan.buffer(out).width;
    let out = binder.buffer(out);
    Product { x, weight, bias, epilogue, store, factor, out, out_width }.bind(binder)
}

pub(super) fn bind_gated(binder: &Binder<'_>, op: &GatedLinear) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let gate = Product {
        x: op.x,
        weight: op.gate,
        bias: None,
        epilogue: Epilogue::Activation(op.activation),
        store: 0,
        factor: binder.nothing,
        out: &binder.scratch.gate,
        out_width: binder.plan.buffer(op.out).width,
    };
    let up = Product {
        weight: op.up,
        epilogue: Epilogue::None,
        store: 2,
        factor: &binder.scratch.gate,
        out: binder.buffer(op.out),
        ..gate
    };
    let mut phases = gate.bind(binder)?;
    phases.extend(up.bind(binder)?);
    Ok(phases)
}

/// The logits of experts, `out`.
pub(super) fn bind_router(
    binder: &Binder<'_>,
    x: BufferId,
    weight: MatrixId,
    out: &wgpu::Buffer,
) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let factor = binder.nothing;
    let out_width = binder.plan.matrix(weight).rows();
    Product { x, weight, bias: None, epilogue: Epilogue::None, store: 0, factor, out, out_width }.bind(binder)
}

impl Product<'_> {
    fn bind(&self, binder: &Binder<'_>) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
        let matrix = binder.weights.matrix(self.weight);
        let (epilogue, values) = epilogue_constants(self.epilogue);
        let end = End { epilogue, store: self.store, has_bias: self.bias.is_some() };
        let phase = |piece: &MatrixPiece| {
            let variant = |text: &Text| self.variant(binder, piece, &spec(piece.form, end, text));
            let mut params = params(&[
                0,
                matrix.segments as u32,
                piece.rows as u32,
                piece.first_row as u32,
                binder.widths(self.x).1 / 4,
                stride(self.out_width) as u32,
            ]);
            params[6..10].copy_from_slice(&values.map(f32::to_bits));
            Ok(Box::new(LinearPhase {
                one_row: variant(&ONE_ROW)?,
                few_rows: variant(&FEW_ROWS)?,
                many_rows: variant(&MANY_ROWS)?,
                rows: binder.rows(self.x),
                n_outputs: piece.rows as u32,
                params,
            }) as Box<dyn Phase>)
        };
        matrix.pieces.iter().map(phase).collect()
    }

    fn variant(
        &self,
        binder: &Binder<'_>,
        piece: &MatrixPiece,
        spec: &KernelSpec,
    ) -> Result<Variant, PrepareError> {
        let kernel = binder.gpu.kernel(spec)?;
        let [low, high, scales] = &piece.planes;
        let bias = self.bias.map_or(binder.nothing, |bias| binder.weights.vector(bias));
        let buffers = binder
            .gpu
            .bind(&kernel, &[low, high, scales, binder.buffer(self.x), bias, self.factor, self.out]);
        Ok(Variant { kernel, buffers })
    }
}

/// The names of the numbers that [`epilogue_constants`] gives.
const EPILOGUES: [&str; 7] = ["NONE", "SILU", "GELU_TANH", "GELU_ERF", "XIELU", "SOFT_CAP", "SCALE"];

/// How kernels know an epilogue: its number and its parameters.
pub(super) fn epilogue_constants(epilogue: Epilogue) -> (usize, [f32; 4]) {
    match epilogue {
        Epilogue::None => (0, [0.0; 4]),
        Epilogue::Activation(Activation::Silu) => (1, [0.0; 4]),
        Epilogue::Activation(Activation::GeluTanh) => (2, [0.0; 4]),
        Epilogue::Activation(Activation::GeluErf) => (3, [0.0; 4]),
        Epilogue::Activation(Activation::Xielu(Xielu { alpha_p, alpha_n, beta, eps })) => {
            (4, [alpha_p, alpha_n, beta, eps])
        }
        Epilogue::SoftCap(cap) => (5, [cap, 0.0, 0.0, 0.0]),
        Epilogue::Scale(scale) => (6, [scale, 0.0, 0.0, 0.0]),
    }
}
