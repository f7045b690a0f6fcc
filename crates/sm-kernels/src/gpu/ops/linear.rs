//! Matrix products.
//!
//! ```text
//! rows   kernel
//! 1      linear_vector, 1 row: 8 lanes an output
//! few    linear_vector, 4 rows: weights are read once for 4 rows
//! many   linear_tile: 32 rows by 32 outputs a workgroup
//! ```
//!
//! `tuning.rs` measures how many are few. All give a row the same bits: `gpu.rs` has the order of the sums. With quantized weights they
//! multiply in int8 where the device has a product of four bytes, and else in single precision, as with all others.

use std::sync::Arc;

use crate::gpu::binder::{Arithmetic, Binder, Params, Phase, Recorder, params, stride};
use crate::gpu::device::Gpu;
use crate::gpu::form::{Form, SEGMENT_LEN};
use crate::gpu::kernel::{Binding, Kernel, KernelSpec, Source};
use crate::gpu::step::Extents;
use crate::gpu::weights::{DeviceMatrix, MatrixPiece};
use crate::plan::{Activation, BufferId, Epilogue, Linear, MatrixId, PrepareError, Rows, VectorId, Xielu};

const BINDINGS: [Binding; 6] =
    [Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::Read, Binding::ReadWrite];

/// Strips that the columns are dealt to.
const STRIPS: usize = 8;
/// A product with all that belongs to it.
pub(super) struct Product<'a> {
    pub(super) x: BufferId,
    pub(super) matrix: &'a DeviceMatrix,
    pub(super) bias: Option<VectorId>,
    pub(super) epilogue: Epilogue,
    /// A place in [`STORE_NAMES`](super::STORE_NAMES).
    pub(super) store: usize,
    pub(super) out: &'a wgpu::Buffer,
    /// Values of a row of the output.
    pub(super) out_width: usize,
}

/// A kernel for some numbers of rows.
struct Variety {
    name: &'static str,
    /// Rows that a lane has.
    n_rows: usize,
    /// Whether a workgroup shares a tile, and not a lane its sums.
    is_tile: bool,
}

const ONE_ROW: Variety = Variety { name: "linear of one row", n_rows: 1, is_tile: false };
const FEW_ROWS: Variety = Variety { name: "linear of few rows", n_rows: 4, is_tile: false };
const MANY_ROWS: Variety = Variety { name: "linear of many rows", n_rows: 4, is_tile: true };

/// What a kernel does with a sum.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// As [`epilogue_constants`] gives it.
    pub(super) epilogue: usize,
    /// A place in [`STORE_NAMES`](super::STORE_NAMES).
    pub(super) store: usize,
    pub(super) has_bias: bool,
}

/// What all kernels of products begin with, for some rows at a time.
pub(super) fn constants(form: Form, arithmetic: Arithmetic, end: End, n_rows: usize) -> Source {
    let (weights, rows) = match arithmetic {
        Arithmetic::Float => (form.source(), include_str!("rows_float.wgsl")),
        Arithmetic::Int8 => (form.code_source(), include_str!("rows_int8.wgsl")),
    };
    weights
        .names(&EPILOGUES)
        .number("EPILOGUE", end.epilogue)
        .names(&super::STORE_NAMES)
        .number("STORE", end.store)
        .flag("HAS_BIAS", end.has_bias)
        .number("STRIPS", STRIPS)
        .number("ROWS", n_rows)
        .text(include_str!("activation.wgsl"))
        .text(include_str!("epilogue.wgsl"))
        .text(rows)
}

fn spec(form: Form, arithmetic: Arithmetic, end: End, variety: &Variety) -> KernelSpec {
    let source = constants(form, arithmetic, end, variety.n_rows);
    let source = if variety.is_tile {
        let tile = match arithmetic {
            Arithmetic::Float => include_str!("tile_float.wgsl"),
            Arithmetic::Int8 => include_str!("tile_int8.wgsl"),
        };
        source.text(tile).text(include_str!("linear_tile.wgsl"))
    } else {
        source.exchanging().text(include_str!("linear_vector.wgsl"))
    };
    KernelSpec { name: variety.name, source, bindings: &BINDINGS }
}

/// The kernels for a form, with each epilogue and each way to store.
#[cfg(test)]
pub(super) fn samples(form: Form) -> Vec<KernelSpec> {
    let ends = (0..EPILOGUES.len()).map(|epilogue| End {
        epilogue,
        store: epilogue % 2,
        has_bias: epilogue % 2 == 0,
    });
    let in_all = |end| {
        super::tests::arithmetics(form).flat_map(move |used| {
            [ONE_ROW, FEW_ROWS, MANY_ROWS].map(|variety| spec(form, used, end, &variety))
        })
    };
    ends.flat_map(in_all).collect()
}

/// The kernels and buffers of a piece of a matrix.
#[derive(Debug)]
struct LinearPhase {
    one_row: Variant,
    few_rows: Variant,
    many_rows: Variant,
    rows: Rows,
    /// Rows up to which they are few.
    few: u32,
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
        let n_outputs = self.n_outputs;
        let (variant, grid) = match n_rows {
            0 | 1 => (&self.one_row, [n_outputs.div_ceil(8), n_rows, 1]),
            _ if n_rows <= self.few => (&self.few_rows, few_grid(n_outputs, n_rows)),
            _ => (&self.many_rows, many_grid(n_outputs, n_rows)),
        };
        variant.dispatch(recorder, self.params, n_rows, grid);
    }
}

impl Variant {
    fn dispatch(&self, recorder: &mut Recorder<'_>, mut params: Params, n_rows: u32, grid: [u32; 3]) {
        params[0] = n_rows;
        recorder.dispatch(&self.kernel, &self.buffers, &params, grid);
    }
}

fn few_grid(n_outputs: u32, n_rows: u32) -> [u32; 3] {
    [n_outputs.div_ceil(8), n_rows.div_ceil(4), 1]
}

fn many_grid(n_outputs: u32, n_rows: u32) -> [u32; 3] {
    [n_outputs.div_ceil(32), n_rows.div_ceil(32), 1]
}

/// A square product of zeros, by which the kernels for few and for many rows are compared.
#[derive(Debug)]
pub(crate) struct Contest {
    few_rows: Variant,
    many_rows: Variant,
    side: u32,
    params: Params,
}

impl Contest {
    /// With weights of a form, for up to `max_rows` rows.
    ///
    /// # Errors
    /// If the device refuses memory or a kernel.
    pub(crate) fn new(gpu: &Gpu, form: Form, side: usize, max_rows: usize) -> Result<Self, PrepareError> {
        let arithmetic = Arithmetic::of(gpu, form);
        let words = form.row_words(side);
        let row_vectors = arithmetic.row_vectors(side);
        let buffer = |n_words: usize| gpu.buffer("a product to measure", 4 * n_words as u64);
        let low = buffer(side * words.low)?;
        let high = buffer(side * words.high)?;
        let scales = buffer(side * words.scales)?;
        let x = buffer(max_rows * 4 * row_vectors as usize)?;
        let bias = buffer(1)?;
        let out = buffer(max_rows * stride(side))?;
        let end = End { epilogue: 0, store: 0, has_bias: false };
        let variant = |variety: &Variety| {
            let kernel = gpu.kernel(&spec(form, arithmetic, end, variety))?;
            let buffers = gpu.bind(&kernel, &[&low, &high, &scales, &x, &bias, &out]);
            Ok::<_, PrepareError>(Variant { kernel, buffers })
        };
        let (n_segments, side) = (side.div_ceil(SEGMENT_LEN) as u32, side as u32);
        Ok(Self {
            few_rows: variant(&FEW_ROWS)?,
            many_rows: variant(&MANY_ROWS)?,
            side,
            params: params(&[0, n_segments, side, 0, row_vectors, stride(side as usize) as u32]),
        })
    }

    /// Records the product by the kernel for few rows.
    pub(crate) fn record_few(&self, recorder: &mut Recorder<'_>, n_rows: u32) {
        self.few_rows.dispatch(recorder, self.params, n_rows, few_grid(self.side, n_rows));
    }

    /// Records the product by the kernel for many rows.
    pub(crate) fn record_many(&self, recorder: &mut Recorder<'_>, n_rows: u32) {
        self.many_rows.dispatch(recorder, self.params, n_rows, many_grid(self.side, n_rows));
    }
}

pub(super) fn bind(binder: &Binder<'_>, op: &Linear) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let Linear { x, weight, bias, epilogue, store, out } = *op;
    let matrix = binder.weights.matrix(weight);
    let store = super::store_number(store);
    let out_width = binder.plan.buffer(out).width;
    let out = binder.buffer(out);
    Product { x, matrix, bias, epilogue, store, out, out_width }.bind(binder)
}

/// The logits of experts, `out`.
pub(super) fn bind_router(
    binder: &Binder<'_>,
    x: BufferId,
    weight: MatrixId,
    out: &wgpu::Buffer,
) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let matrix = binder.weights.matrix(weight);
    let out_width = binder.plan.matrix(weight).rows();
    Product { x, matrix, bias: None, epilogue: Epilogue::None, store: 0, out, out_width }.bind(binder)
}

impl Product<'_> {
    pub(super) fn bind(&self, binder: &Binder<'_>) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
        let x_width = binder.plan.buffer(self.x).width;
        let (epilogue, values) = epilogue_constants(self.epilogue);
        let end = End { epilogue, store: self.store, has_bias: self.bias.is_some() };
        let sizes = binder.gpu.kept.sizes();
        let phase = |piece: &MatrixPiece| {
            let arithmetic = Arithmetic::of(binder.gpu, piece.form);
            let variant = |variety: &Variety| {
                self.variant(binder, piece, arithmetic, &spec(piece.form, arithmetic, end, variety))
            };
            let mut params = params(&[
                0,
                self.matrix.segments as u32,
                piece.rows as u32,
                piece.first_row as u32,
                arithmetic.row_vectors(x_width),
                stride(self.out_width) as u32,
            ]);
            params[6..10].copy_from_slice(&values.map(f32::to_bits));
            Ok(Box::new(LinearPhase {
                one_row: variant(&ONE_ROW)?,
                few_rows: variant(&FEW_ROWS)?,
                many_rows: variant(&MANY_ROWS)?,
                rows: binder.rows(self.x),
                few: if piece.form.is_quantized() { sizes.quantized } else { sizes.other },
                n_outputs: piece.rows as u32,
                params,
            }) as Box<dyn Phase>)
        };
        self.matrix.pieces.iter().map(phase).collect()
    }

    fn variant(
        &self,
        binder: &Binder<'_>,
        piece: &MatrixPiece,
        arithmetic: Arithmetic,
        spec: &KernelSpec,
    ) -> Result<Variant, PrepareError> {
        let kernel = binder.gpu.kernel(spec)?;
        let [low, high, scales] = &piece.planes;
        let bias = self.bias.map_or(binder.nothing, |bias| binder.weights.vector(bias));
        let x = binder.rows_for(self.x, arithmetic);
        let buffers = binder.gpu.bind(&kernel, &[low, high, scales, x, bias, self.out]);
        Ok(Variant { kernel, buffers })
    }
}

/// The names of the numbers that [`epilogue_constants`] gives.
pub(super) const EPILOGUES: [&str; 7] =
    ["NONE", "SILU", "GELU_TANH", "GELU_ERF", "XIELU", "SOFT_CAP", "SCALE"];

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
