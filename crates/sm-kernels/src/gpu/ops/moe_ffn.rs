//! A feed-forward of experts.
//!
//! ```text
//! router      a product, for all rows
//! route       the experts of each row, and their weights
//! gate, up    a product for each row and choice, into scratch memory; up multiplies by what gate left
//! encode      what down reads, if in int8
//! down        a product for each row and choice
//! combine     the weighted sum, in the order of choice
//! ```
//!
//! Each row reads the weights of its experts for itself. For a decode step that is what there is to read; a prompt would gain from
//! sorting its rows by expert, which changes no result and is not done yet.

use std::sync::Arc;

use super::encode;
use super::linear::{self, End};
use crate::gpu::binder::{Arithmetic, Binder, Params, Phase, Recorder, RowPhase, params, stride};
use crate::gpu::device::Gpu;
use crate::gpu::form::Form;
use crate::gpu::kernel::{Binding, Kernel, KernelSpec, Source};
use crate::gpu::step::Extents;
use crate::gpu::weights::MatrixPiece;
use crate::plan::{BufferId, Epilogue, Experts, Limits, MatrixId, MoeFfn, Op, Plan, PrepareError, Rows};

const ROUTE_BINDINGS: [Binding; 2] = [Binding::Read, Binding::ReadWrite];
const COMBINE_BINDINGS: [Binding; 3] = [Binding::Read, Binding::Read, Binding::ReadWrite];
const PRODUCT_BINDINGS: [Binding; 8] = [
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Read,
    Binding::Read,
];

/// Bytes of the scratch memory that the experts of a plan share: logits, choices, gates, products of gate and up, these as blocks,
/// results.
pub(crate) fn scratch_bytes(gpu: &Gpu, plan: &Plan, limits: &Limits) -> [u64; 6] {
    let mut most = [0; 6];
    for op in &plan.ops {
        let Op::MoeFfn(MoeFfn { x, experts, out, .. }) = op else { continue };
        let n_rows = match plan.buffer(*x).rows {
            Rows::Tokens => limits.max_tokens,
            Rows::Outputs => limits.max_outputs,
        };
        let choices = n_rows * experts.top_k;
        let down = plan.matrix(experts.down);
        let ffn = choices * stride(down.cols);
        let block_words = encode::row_bytes(down.cols) as usize / 4;
        let blocks = if Arithmetic::needs_blocks(gpu, down) { block_words } else { 0 };
        let values = [
            n_rows * stride(experts.n_experts),
            2 * choices,
            ffn,
            ffn,
            choices * blocks,
            choices * stride(plan.buffer(*out).width),
        ];
        most.iter_mut().zip(values).for_each(|(most, values)| *most = (4 * values as u64).max(*most));
    }
    most
}

/// Refuses a plan whose experts differ in shape from layer to layer: the padding of shared scratch memory must stay zero.
fn check_shapes(plan: &Plan, experts: &Experts) -> Result<(), PrepareError> {
    let shape = |experts: &Experts| {
        let down = plan.matrix(experts.down);
        (experts.n_experts, experts.top_k, down.cols, down.rows())
    };
    let is_other = |op: &&Op| matches!(op, Op::MoeFfn(op) if shape(&op.experts) != shape(experts));
    let other = plan.ops.iter().find(is_other);
    other.map_or(Ok(()), |_| {
        Err(PrepareError::Unsupported(
            "the GPU backend needs experts of one shape in all layers, and this model has several; use --device cpu".to_owned(),
        ))
    })
}

/// A product for each row and choice.
#[derive(Debug)]
struct ChoicePhase {
    kernel: Arc<Kernel>,
    buffers: wgpu::BindGroup,
    rows: Rows,
    top_k: u32,
    /// Rows of an expert.
    n_outputs: u32,
    params: Params,
}

impl Phase for ChoicePhase {
    fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents) {
        let n_rows = extents.of(self.rows);
        let mut params = self.params;
        params[0] = n_rows;
        let grid = [self.n_outputs.div_ceil(8), self.top_k, n_rows];
        recorder.dispatch(&self.kernel, &self.buffers, &params, grid);
    }
}

/// A product of the experts.
struct Product<'a> {
    weight: MatrixId,
    /// As [`linear::epilogue_constants`] gives it.
    epilogue: usize,
    values: [f32; 4],
    /// What is multiplied, as values and as blocks.
    x: &'a wgpu::Buffer,
    x_blocks: &'a wgpu::Buffer,
    /// Whether each choice has a row of its own.
    x_by_choice: bool,
    /// What the result is multiplied by.
    gates: Option<&'a wgpu::Buffer>,
    out: &'a wgpu::Buffer,
}

pub(super) fn bind(binder: &Binder<'_>, op: &MoeFfn) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
    let experts = &op.experts;
    check_shapes(binder.plan, experts)?;
    let [logits, chosen, gates, gated, gated_blocks, results] = &binder.scratch.experts;
    let rows = binder.rows(op.x);
    let mut phases = linear::bind_router(binder, op.x, experts.router, logits)?;
    let kernel = binder.gpu.kernel(&route_spec(experts))?;
    let buffers = binder.gpu.bind(&kernel, &[logits, chosen]);
    let route = params(&[0, stride(experts.n_experts) as u32]);
    phases.push(Box::new(RowPhase { kernel, buffers, rows, width: 1, params: route }));
    let (epilogue, values) = linear::epilogue_constants(Epilogue::Activation(experts.activation));
    let gate = Product {
        weight: experts.gate,
        epilogue,
        values,
        x: binder.buffer(op.x),
        x_blocks: binder.rows_for(op.x, Arithmetic::Int8),
        x_by_choice: false,
        gates: None,
        out: gates,
    };
    let up = Product { weight: experts.up, epilogue: 0, gates: Some(gates), out: gated, ..gate };
    let down = Product {
        weight: experts.down,
        epilogue: 0,
        x: gated,
        x_blocks: gated_blocks,
        x_by_choice: true,
        out: results,
        ..gate
    };
    phases.extend(gate.bind(binder, experts, op.x)?);
    phases.extend(up.bind(binder, experts, op.x)?);
    let down_decl = binder.plan.matrix(experts.down);
    if Arithmetic::needs_blocks(binder.gpu, down_decl) {
        phases.push(encode::bind_rows(binder, gated, gated_blocks, down_decl.cols, rows, experts.top_k)?);
    }
    phases.extend(down.bind(binder, experts, op.x)?);
    let kernel = binder.gpu.kernel(&combine_spec(experts, super::store_number(op.store)))?;
    let buffers = binder.gpu.bind(&kernel, &[results, chosen, binder.buffer(op.out)]);
    let (width, out_stride) = binder.widths(op.out);
    let combine = params(&[0, width, out_stride]);
    phases.push(Box::new(RowPhase { kernel, buffers, rows, width: 1, params: combine }));
    Ok(phases)
}

impl Product<'_> {
    /// A dispatch for each piece of the matrix: it computes the outputs that lie in the piece.
    fn bind(
        &self,
        binder: &Binder<'_>,
        experts: &Experts,
        rows_like: BufferId,
    ) -> Result<Vec<Box<dyn Phase>>, PrepareError> {
        let matrix = binder.weights.matrix(self.weight);
        let decl = binder.plan.matrix(self.weight);
        let n_outputs = decl.rows() / experts.n_experts;
        let phase = |piece: &MatrixPiece| {
            let arithmetic = Arithmetic::of(binder.gpu, piece.form);
            let is_gated = self.gates.is_some();
            let spec = product_spec(
                piece.form,
                arithmetic,
                self.epilogue,
                is_gated,
                experts,
                n_outputs,
                self.x_by_choice,
            );
            let kernel = binder.gpu.kernel(&spec)?;
            let [low, high, scales] = &piece.planes;
            let chosen = &binder.scratch.experts[1];
            let gates = self.gates.unwrap_or(binder.nothing);
            let x = if arithmetic == Arithmetic::Int8 { self.x_blocks } else { self.x };
            let buffers =
                binder.gpu.bind(&kernel, &[low, high, scales, x, binder.nothing, self.out, chosen, gates]);
            let mut params = params(&[
                0,
                matrix.segments as u32,
                piece.rows as u32,
                piece.first_row as u32,
                arithmetic.row_vectors(decl.cols),
                stride(n_outputs) as u32,
            ]);
            params[6..10].copy_from_slice(&self.values.map(f32::to_bits));
            Ok(Box::new(ChoicePhase {
                kernel,
                buffers,
                rows: binder.rows(rows_like),
                top_k: experts.top_k as u32,
                n_outputs: n_outputs as u32,
                params,
            }) as Box<dyn Phase>)
        };
        matrix.pieces.iter().map(phase).collect()
    }
}

fn route_spec(experts: &Experts) -> KernelSpec {
    let source = Source::default()
        .number("N_EXPERTS", experts.n_experts)
        .number("TOP_K", experts.top_k)
        .flag("RENORMALIZE", experts.renormalize)
        .text(include_str!("moe_route.wgsl"));
    KernelSpec { name: "route", source, bindings: &ROUTE_BINDINGS }
}

fn combine_spec(experts: &Experts, store: usize) -> KernelSpec {
    let source = Source::default()
        .names(&super::STORE_NAMES)
        .number("STORE", store)
        .number("TOP_K", experts.top_k)
        .text(include_str!("moe_combine.wgsl"));
    KernelSpec { name: "combine", source, bindings: &COMBINE_BINDINGS }
}

fn product_spec(
    form: Form,
    arithmetic: Arithmetic,
    epilogue: usize,
    is_gated: bool,
    experts: &Experts,
    n_outputs: usize,
    x_by_choice: bool,
) -> KernelSpec {
    let end = End { epilogue, store: 0, has_bias: false };
    let source = linear::constants(form, arithmetic, end, 1)
        .flag("IS_GATED", is_gated)
        .number("TOP_K", experts.top_k)
        .number("EXPERT_ROWS", n_outputs)
        .flag("X_BY_CHOICE", x_by_choice)
        .exchanging()
        .text(include_str!("moe_product.wgsl"));
    KernelSpec { name: "product of experts", source, bindings: &PRODUCT_BINDINGS }
}

/// The kernels for experts of a form.
#[cfg(test)]
pub(super) fn samples(form: Form, experts: &Experts) -> Vec<KernelSpec> {
    let products = super::tests::arithmetics(form).flat_map(|used| {
        [false, true].map(|by_choice| product_spec(form, used, 1, !by_choice, experts, 32, by_choice))
    });
    products.chain([route_spec(experts), combine_spec(experts, 1)]).collect()
}
