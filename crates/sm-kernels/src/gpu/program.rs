//! A plan bound to the device: its buffers, and the dispatches of each operation, made once.

use std::ops::Range;
use std::sync::Arc;

use super::binder::{Binder, Phase, Recorder, Scratch, stride};
use super::device::Gpu;
use super::kv_pool::KvPool;
use super::ops;
use super::step::{Extents, StepTables};
use super::weights::DeviceWeights;
use crate::plan::{BufferId, Limits, Op, Plan, PrepareError, Rows};

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
        let scratch = Scratch {
            gate: gpu.buffer(WHAT, gate_bytes(plan, limits))?,
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
            scratch: &scratch,
            nothing: &nothing,
        };
        let phases = plan.ops.iter().map(|op| ops::bind(&binder, op)).collect::<Result<_, _>>()?;
        Ok(Self { phases, n_hidden_ops: n_hidden_ops(plan), buffers })
    }

    /// Bytes of activations and scratch.
    pub(crate) fn needed_bytes(plan: &Plan, limits: &Limits) -> usize {
        let buffers = (0..plan.buffers.len()).map(|index| buffer_bytes(plan, limits, index));
        let scratch = [gate_bytes(plan, limits), ops::attention::scratch_bytes(plan, limits)];
        let experts = ops::moe_ffn::scratch_bytes(plan, limits);
        buffers.chain(scratch).chain(experts).map(|bytes| bytes as usize).fold(0, usize::saturating_add)
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

/// Bytes of a buffer of the plan.
fn buffer_bytes(plan: &Plan, limits: &Limits, index: usize) -> u64 {
    let decl = &plan.buffers[index];
    let n_rows = match decl.rows {
        Rows::Tokens => limits.max_tokens,
        Rows::Outputs => limits.max_outputs,
    };
    4 * stride(decl.width) as u64 * n_rows as u64
}

fn expert_buffers(gpu: &Gpu, plan: &Plan, limits: &Limits) -> Result<[wgpu::Buffer; 5], PrepareError> {
    let [logits, chosen, gates, gated, results] =
        ops::moe_ffn::scratch_bytes(plan, limits).map(|n_bytes| gpu.buffer(WHAT, n_bytes));
    Ok([logits?, chosen?, gates?, gated?, results?])
}

fn gate_bytes(plan: &Plan, limits: &Limits) -> u64 {
    let gated = plan.ops.iter().filter_map(|op| match op {
        Op::GatedLinear(op) => Some(buffer_bytes(plan, limits, op.out.index())),
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
