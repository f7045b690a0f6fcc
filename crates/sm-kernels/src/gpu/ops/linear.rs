//! Matrix products.
//!
//! ```text
//! rows   kernel
//! 1      linear_vector, 1 row: 8 lanes an output
//! few    linear_vector, 4 rows: weights are read once for 4 rows
//! many   linear_tile: 32 rows by 32 outputs a workgroup
//! ```
//!
//! With quantized weights these multiply in int8 where the device has a product of four bytes, and else in single precision, as with
//! all others. Where it has cooperative matrices, they multiply instead, but not by weights in single precision:
//!
//! ```text
//! few    matrices_few: one matrix of outputs a workgroup, 8 subgroups for its columns
//! many   matrices_many: 64 rows by 64 outputs a workgroup
//! ```
//!
//! `tuning.rs` measures how many are few. The kernels of a table give a row the same bits: `gpu.rs` has the order of the sums.

use std::sync::Arc;

use crate::gpu::binder::{Arithmetic, Binder, Params, Phase, Recorder, params, stride};
use crate::gpu::device::Gpu;
use crate::gpu::form::{Form, SEGMENT_LEN};
use crate::gpu::kernel::{Binding, Kernel, KernelSpec, Source};
use crate::gpu::matrices::{LINE, Matrices, TILE};
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
#[derive(Clone, Copy, Debug)]
enum Variety {
    OneRow,
    FewRows,
    ManyRows,
    FewByMatrices(Matrices),
    ManyByMatrices(Matrices),
}

impl Variety {
    /// Those of products with weights of a form, each with the rows up to which it is taken: those for few come before the last.
    fn of(gpu: &Gpu, form: Form, few: u32) -> Vec<(u32, Self)> {
        match gpu.matrices_for(form) {
            None => vec![(1, Self::OneRow), (few, Self::FewRows), (u32::MAX, Self::ManyRows)],
            Some(matrices) => {
                vec![(few, Self::FewByMatrices(matrices)), (u32::MAX, Self::ManyByMatrices(matrices))]
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::OneRow => "linear of one row",
            Self::FewRows => "linear of few rows",
            Self::ManyRows => "linear of many rows",
            Self::FewByMatrices(_) => "linear of few rows by matrices",
            Self::ManyByMatrices(_) => "linear of many rows by matrices",
        }
    }

    /// Outputs and rows of a workgroup.
    fn group(self) -> [u32; 2] {
        match self {
            Self::OneRow => [8, 1],
            Self::FewRows => [8, 4],
            Self::ManyRows => [32; 2],
            Self::FewByMatrices(matrices) => [matrices.side; 2],
            Self::ManyByMatrices(_) => [TILE; 2],
        }
    }
}

/// What a kernel does with a sum.
#[derive(Clone, Copy)]
pub(super) struct End {
    /// As [`epilogue_constants`] gives it.
    pub(super) epilogue: usize,
    /// A place in [`STORE_NAMES`](super::STORE_NAMES).
    pub(super) store: usize,
    pub(super) has_bias: bool,
}

/// What kernels of products begin with whose lanes multiply some rows at a time.
pub(super) fn constants(form: Form, arithmetic: Arithmetic, end: End, n_rows: usize) -> Source {
    let (weights, rows) = match arithmetic {
        Arithmetic::Float => (form.source(), include_str!("rows_float.wgsl")),
        Arithmetic::Int8 => (form.code_source(), include_str!("rows_int8.wgsl")),
    };
    with_end(weights, end).number("ROWS", n_rows).text(rows)
}

/// What kernels begin with that multiply by cooperative matrices.
fn matrix_constants(
    form: Form,
    arithmetic: Arithmetic,
    end: End,
    matrices: Matrices,
    n_lanes: u32,
) -> Source {
    let quads = match arithmetic {
        Arithmetic::Float => include_str!("quads_float.wgsl"),
        Arithmetic::Int8 => include_str!("quads_int8.wgsl"),
    };
    with_end(form.source(), end)
        .matrices(matrices)
        .number("LANES", n_lanes as usize)
        .number("LINE", LINE as usize)
        .number("TILE", TILE as usize)
        .text(quads)
        .text(include_str!("matrices.wgsl"))
}

fn with_end(weights: Source, end: End) -> Source {
    weights
        .names(&EPILOGUES)
        .number("EPILOGUE", end.epilogue)
        .names(&super::STORE_NAMES)
        .number("STORE", end.store)
        .flag("HAS_BIAS", end.has_bias)
        .number("STRIPS", STRIPS)
        .text(include_str!("activation.wgsl"))
        .text(include_str!("epilogue.wgsl"))
}

fn spec(form: Form, arithmetic: Arithmetic, end: End, variety: Variety) -> KernelSpec {
    let lanes = |n_rows| constants(form, arithmetic, end, n_rows);
    let vector = |n_rows| lanes(n_rows).exchanging().text(include_str!("linear_vector.wgsl"));
    let tile = match arithmetic {
        Arithmetic::Float => include_str!("tile_float.wgsl"),
        Arithmetic::Int8 => include_str!("tile_int8.wgsl"),
    };
    let source = match variety {
        Variety::OneRow => vector(1),
        Variety::FewRows => vector(4),
        Variety::ManyRows => lanes(4).text(tile).text(include_str!("linear_tile.wgsl")),
        Variety::FewByMatrices(matrices) => {
            matrix_constants(form, arithmetic, end, matrices, matrices.few_lanes())
                .text(include_str!("matrices_few.wgsl"))
        }
        Variety::ManyByMatrices(matrices) => {
            matrix_constants(form, arithmetic, end, matrices, matrices.many_lanes())
                .text(include_str!("matrices_many.wgsl"))
        }
    };
    KernelSpec { name: variety.name(), source, bindings: &BINDINGS }
}

/// The kernels for a form, with each epilogue and each way to store.
#[cfg(test)]
pub(super) fn samples(form: Form) -> Vec<KernelSpec> {
    let ends = (0..EPILOGUES.len()).map(|epilogue| End {
        epilogue,
        store: epilogue % 2,
        has_bias: epilogue % 2 == 0,
    });
    let lanes = [Variety::OneRow, Variety::FewRows, Variety::ManyRows];
    let matrices = |side, max_subgroup| {
        let matrices = Matrices { side, max_subgroup };
        [Variety::FewByMatrices(matrices), Variety::ManyByMatrices(matrices)]
    };
    let varieties: Vec<_> = lanes.into_iter().chain(matrices(16, 64)).chain(matrices(8, 8)).collect();
    let in_all = |end| {
        super::tests::arithmetics(form)
            .flat_map(|used| varieties.iter().map(move |variety| spec(form, used, end, *variety)))
            .collect::<Vec<_>>()
    };
    ends.flat_map(in_all).collect()
}

/// The kernels and buffers of a piece of a matrix.
#[derive(Debug)]
struct LinearPhase {
    /// Each with the rows up to which it is taken.
    variants: Vec<(u32, Variant)>,
    rows: Rows,
    params: Params,
}

/// A kernel bound to its buffers.
#[derive(Debug)]
struct Variant {
    kernel: Arc<Kernel>,
    buffers: wgpu::BindGroup,
    /// Outputs and rows of a workgroup.
    group: [u32; 2],
}

impl Phase for LinearPhase {
    fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents) {
        let n_rows = extents.of(self.rows);
        if let Some((_, variant)) = self.variants.iter().find(|(most, _)| n_rows <= *most) {
            variant.dispatch(recorder, self.params, n_rows);
        }
    }
}

impl Variant {
    fn dispatch(&self, recorder: &mut Recorder<'_>, mut params: Params, n_rows: u32) {
        params[0] = n_rows;
        // As epilogue.wgsl has them.
        let n_outputs = params[2];
        let [outputs, rows] = self.group;
        let grid = [n_outputs.div_ceil(outputs), n_rows.div_ceil(rows), 1];
        recorder.dispatch(&self.kernel, &self.buffers, &params, grid);
    }
}

/// A square product of zeros, by which the kernels for few and for many rows are compared.
#[derive(Debug)]
pub(crate) struct Contest {
    few_rows: Variant,
    many_rows: Variant,
    params: Params,
}

impl Contest {
    /// With weights of a form.
    ///
    /// # Errors
    /// If the device refuses memory or a kernel.
    pub(crate) fn new(gpu: &Gpu, form: Form, side: usize) -> Result<Self, PrepareError> {
        let arithmetic = Arithmetic::of(gpu, form);
        let varieties = Variety::of(gpu, form, 0);
        let [.., (_, few_rows), (_, many_rows)] = varieties[..] else {
            unreachable!("there are two at least")
        };
        let words = form.row_words(side);
        let row_vectors = arithmetic.row_vectors(side);
        let max_rows = many_rows.group()[1] as usize;
        let buffer = |n_words: usize| gpu.buffer("a product to measure", 4 * n_words as u64);
        let low = buffer(side * words.low)?;
        let high = buffer(side * words.high)?;
        let scales = buffer(side * words.scales)?;
        let x = buffer(max_rows * 4 * row_vectors as usize)?;
        let bias = buffer(1)?;
        let out = buffer(max_rows * stride(side))?;
        let end = End { epilogue: 0, store: 0, has_bias: false };
        let variant = |variety: Variety| {
            let kernel = gpu.kernel(&spec(form, arithmetic, end, variety))?;
            let buffers = gpu.bind(&kernel, &[&low, &high, &scales, &x, &bias, &out]);
            Ok::<_, PrepareError>(Variant { kernel, buffers, group: variety.group() })
        };
        let (few_rows, many_rows) = (variant(few_rows)?, variant(many_rows)?);
        let n_segments = side.div_ceil(SEGMENT_LEN) as u32;
        let params = params(&[0, n_segments, side as u32, 0, row_vectors, stride(side) as u32]);
        Ok(Self { few_rows, many_rows, params })
    }

    /// Rows that a workgroup of each kernel takes.
    pub(crate) fn rows(&self) -> (u32, u32) {
        (self.few_rows.group[1], self.many_rows.group[1])
    }

    /// Records the product by the kernel for few rows, of no more than the other one takes.
    pub(crate) fn record_few(&self, recorder: &mut Recorder<'_>, n_rows: u32) {
        self.few_rows.dispatch(recorder, self.params, n_rows);
    }

    /// Records the product by the kernel for many rows, as many as a workgroup takes.
    pub(crate) fn record_many(&self, recorder: &mut Recorder<'_>) {
        self.many_rows.dispatch(recorder, self.params, self.many_rows.group[1]);
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
            let few = if piece.form.is_quantized() { sizes.quantized } else { sizes.other };
            let variant = |(most, variety): (u32, Variety)| {
                Ok((most, self.variant(binder, piece, arithmetic, end, variety)?))
            };
            let varieties = Variety::of(binder.gpu, piece.form, few);
            let variants = varieties.into_iter().map(variant).collect::<Result<_, PrepareError>>()?;
            let mut params = params(&[
                0,
                self.matrix.segments as u32,
                piece.rows as u32,
                piece.first_row as u32,
                arithmetic.row_vectors(x_width),
                stride(self.out_width) as u32,
            ]);
            params[6..10].copy_from_slice(&values.map(f32::to_bits));
            let rows = binder.rows(self.x);
            Ok(Box::new(LinearPhase { variants, rows, params }) as Box<dyn Phase>)
        };
        self.matrix.pieces.iter().map(phase).collect()
    }

    fn variant(
        &self,
        binder: &Binder<'_>,
        piece: &MatrixPiece,
        arithmetic: Arithmetic,
        end: End,
        variety: Variety,
    ) -> Result<Variant, PrepareError> {
        let kernel = binder.gpu.kernel(&spec(piece.form, arithmetic, end, variety))?;
        let [low, high, scales] = &piece.planes;
        let bias = self.bias.map_or(binder.nothing, |bias| binder.weights.vector(bias));
        let x = binder.rows_for(self.x, arithmetic);
        let buffers = binder.gpu.bind(&kernel, &[low, high, scales, x, bias, self.out]);
        Ok(Variant { kernel, buffers, group: variety.group() })
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
