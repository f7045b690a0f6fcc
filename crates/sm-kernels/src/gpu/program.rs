//! A plan bound to the device: its buffers, and the dispatches of each operation, made once.

use std::ops::Range;
use std::sync::Arc;

use super::binder::{Arithmetic, Binder, Phase, Recorder, Scratch, stride};
use super::device::Gpu;
use super::kv_pool::KvPool;
use super::ops;
use super::step::{Extents, StepTables};
use super::weights::DeviceWeights;
use crate::plan::{BufferId, Limits, MatrixId, Op, Plan, PrepareError, Read, Rows, Usage};

const WHAT: &str = "activations";

/// A plan bound to the device.
#[derive(Debug)]
pub(crate) struct Program {
    buffers: Vec<wgpu::Buffer>,
    /// For each operation.
    phases: Vec<Vec<Box<dyn Phase>>>,
    /// Operations that the hidden state needs.
    pub(crate) n_hidden_ops: usize,
}

impl Program {
    /// Binds a valid plan.
    ///
    /// # Errors
    /// If an operation is not supported, or the device refuses memory or a kernel.
    pub(crate) fn bind(
        gpu: &Arc<Gpu>,
        plan: &Plan,
        limits: &Limits,
        weights: &DeviceWeights,
        kv: &KvPool,
        tables: &StepTables,
    ) -> Result<Self, PrepareError> {
        let buffers =
            (0..plan.buffers.len()).map(|index| gpu.buffer(WHAT, buffer_bytes(plan, limits, index)));
        let buffers: Vec<_> = buffers.collect::<Result<_, _>>()?;
        let blocks = (0..plan.buffers.len()).map(|index| {
            let n_bytes = block_bytes(gpu, plan, limits, index);
            (n_bytes > 0).then(|| gpu.buffer(WHAT, n_bytes)).transpose()
        });
        let blocks: Vec<_> = blocks.collect::<Result<_, _>>()?;
        let scratch = Scratch {
            gated: gpu.buffer(WHAT, gated_bytes(plan, limits))?,
            partials: gpu.buffer(WHAT, ops::attention::scratch_bytes(plan, limits))?,
            experts: expert_buffers(gpu, plan, limits)?,
        };
        let nothing = gpu.buffer(WHAT, 0)?;
        let binder = Binder {
            gpu,
            plan,
            limits,
            weights,
            kv,
            tables,
            buffers: &buffers,
            blocks: &blocks,
            scratch: &scratch,
            nothing: &nothing,
        };
        let phases = plan.ops.iter().map(|op| ops::bind(&binder, op)).collect::<Result<_, _>>()?;
        Ok(Self { phases, n_hidden_ops: n_hidden_ops(plan), buffers })
    }

    /// Bytes of activations and scratch.
    pub(crate) fn needed_bytes(gpu: &Gpu, plan: &Plan, limits: &Limits) -> usize {
        let buffers = (0..plan.buffers.len()).map(|index| buffer_bytes(plan, limits, index));
        let blocks = (0..plan.buffers.len()).map(|index| block_bytes(gpu, plan, limits, index));
        let scratch = [gated_bytes(plan, limits), ops::attention::scratch_bytes(plan, limits)];
        let experts = ops::moe_ffn::scratch_bytes(gpu, plan, limits);
        buffers
            .chain(blocks)
            .chain(scratch)
            .chain(experts)
            .map(|bytes| bytes as usize)
            .fold(0, usize::saturating_add)
    }

    /// Number of operations.
    pub(crate) fn n_ops(&self) -> usize {
        self.phases.len()
    }

    /// An activation buffer.
    pub(crate) fn buffer(&self, id: BufferId) -> &wgpu::Buffer {
        &self.buffers[id.index()]
    }

    /// Records operations.
    pub(crate) fn record(&self, recorder: &mut Recorder<'_>, operations: Range<usize>, extents: &Extents) {
        for phase in self.phases[operations].iter().flatten() {
            phase.record(recorder, extents);
        }
    }
}

/// Bytes of `row_bytes` for each row of a buffer of the plan.
fn bytes_of_rows(plan: &Plan, limits: &Limits, index: usize, row_bytes: u64) -> u64 {
    let n_rows = match plan.buffers[index].rows {
        Rows::Tokens => limits.max_tokens,
        Rows::Outputs => limits.max_outputs,
    };
    row_bytes * n_rows as u64
}

/// Bytes of a buffer of the plan.
fn buffer_bytes(plan: &Plan, limits: &Limits, index: usize) -> u64 {
    bytes_of_rows(plan, limits, index, 4 * stride(plan.buffers[index].width) as u64)
}

/// Bytes of a buffer's rows as blocks; none if no product reads them so.
fn block_bytes(gpu: &Gpu, plan: &Plan, limits: &Limits, index: usize) -> u64 {
    let in_int8 = |matrix: &MatrixId| Arithmetic::needs_blocks(gpu, plan.matrix(*matrix));
    let reads_blocks = |read: &Read| match &read.usage {
        Usage::Product(matrices) => read.buffer.index() == index && matrices.iter().any(in_int8),
        Usage::Values => false,
    };
    if plan.ops.iter().flat_map(Op::reads).any(|read| reads_blocks(&read)) {
        bytes_of_rows(plan, limits, index, ops::encode::row_bytes(plan.buffers[index].width))
    } else {
        0
    }
}

fn expert_buffers(gpu: &Gpu, plan: &Plan, limits: &Limits) -> Result<[wgpu::Buffer; 6], PrepareError> {
    let [logits, chosen, gates, gated, blocks, results] =
        ops::moe_ffn::scratch_bytes(gpu, plan, limits).map(|n_bytes| gpu.buffer(WHAT, n_bytes));
    Ok([logits?, chosen?, gates?, gated?, blocks?, results?])
}

fn gated_bytes(plan: &Plan, limits: &Limits) -> u64 {
    let gated = plan.ops.iter().filter_map(|op| match op {
        Op::GatedLinear(op) => {
            let (index, width) = (op.out.index(), plan.buffer(op.out).width);
            Some(bytes_of_rows(plan, limits, index, 4 * stride(2 * width) as u64))
        }
        _ => None,
    });
    gated.max().unwrap_or(0)
}

/// The operations up to the last that writes the hidden state.
fn n_hidden_ops(plan: &Plan) -> usize {
    let Some(hidden) = plan.hidden else { return plan.ops.len() };
    let writes = |op: &Op| op.writes().iter().any(|write| write.buffer == hidden);
    plan.ops.iter().rposition(writes).map_or(plan.ops.len(), |last| last + 1)
}
