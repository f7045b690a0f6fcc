//! A plan bound to the device: its buffers, and the dispatches of each operation, made once.

use std::sync::Arc;

use super::device::{Gpu, PARAM_BYTES};
use super::form::SEGMENT_LEN;
use super::kernel::Kernel;
use super::kv_pool::KvPool;
use super::ops;
use super::step::{Extents, StepTables};
use super::weights::DeviceWeights;
use crate::plan::{BufferId, Limits, Op, Plan, PrepareError, Rows};

const WHAT: &str = "activations";

/// The parameters of a dispatch.
pub(crate) type Params = [u32; PARAM_BYTES as usize / 4];

/// Values of a row with its padding: whole segments, so that products read vectors. The padding is zero and stays so.
pub(crate) fn stride(width: usize) -> usize {
    width.next_multiple_of(SEGMENT_LEN)
}

/// What an operation dispatches in every step.
pub(crate) trait Phase: std::fmt::Debug + Send + Sync {
    /// Records the dispatches for a step of these extents.
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, extents: &Extents);
}

/// A phase of one dispatch: workgroups for each row.
#[derive(Debug)]
pub(crate) struct RowPhase {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) buffers: wgpu::BindGroup,
    pub(crate) rows: Rows,
    /// Workgroups for a row.
    pub(crate) width: u32,
    /// The first is set to the number of rows.
    pub(crate) params: Params,
}

impl Phase for RowPhase {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, extents: &Extents) {
        let n_rows = extents.of(self.rows);
        let mut params = self.params;
        params[0] = n_rows;
        dispatch(pass, &self.kernel, &self.buffers, &params, [self.width, n_rows, 1]);
    }
}

/// Records one dispatch, unless it has no workgroups.
pub(crate) fn dispatch(
    pass: &mut wgpu::ComputePass<'_>,
    kernel: &Kernel,
    buffers: &wgpu::BindGroup,
    params: &Params,
    grid: [u32; 3],
) {
    let [x, y, z] = grid;
    if x * y * z == 0 {
        return;
    }
    pass.set_pipeline(&kernel.pipeline);
    pass.set_bind_group(0, buffers, &[]);
    pass.set_immediates(0, bytemuck::cast_slice(params));
    pass.dispatch_workgroups(x, y, z);
}

/// Parameters that begin with these.
pub(crate) fn params(values: &[u32]) -> Params {
    let mut params = Params::default();
    params[..values.len()].copy_from_slice(values);
    params
}

impl Extents {
    /// Rows of a buffer.
    pub(crate) fn of(&self, rows: Rows) -> u32 {
        match rows {
            Rows::Tokens => self.n_tokens,
            Rows::Outputs => self.n_outputs,
        }
    }
}

/// A plan bound to the device.
#[derive(Debug)]
pub(crate) struct Program {
    buffers: Vec<wgpu::Buffer>,
    /// For each operation.
    phases: Vec<Vec<Box<dyn Phase>>>,
    /// Operations that the hidden state needs.
    pub(crate) n_hidden_ops: usize,
}

/// What operations are bound with.
pub(crate) struct Binder<'a> {
    pub(crate) gpu: &'a Arc<Gpu>,
    pub(crate) plan: &'a Plan,
    pub(crate) limits: &'a Limits,
    pub(crate) weights: &'a DeviceWeights,
    pub(crate) kv: &'a KvPool,
    pub(crate) tables: &'a StepTables,
    buffers: &'a [wgpu::Buffer],
    /// Memory that operations share, each for its own time.
    pub(crate) scratch: &'a Scratch,
    /// For bindings that an operation has no use for.
    pub(crate) nothing: &'a wgpu::Buffer,
}

/// Memory that no operation needs longer than it runs.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// What gates multiply: as large as the widest gated product.
    pub(crate) gate: wgpu::Buffer,
    /// Partitions of attention.
    pub(crate) partials: wgpu::Buffer,
}

impl Binder<'_> {
    /// An activation buffer.
    pub(crate) fn buffer(&self, id: BufferId) -> &wgpu::Buffer {
        &self.buffers[id.index()]
    }

    /// The width and the stride of a buffer.
    pub(crate) fn widths(&self, id: BufferId) -> (u32, u32) {
        let width = self.plan.buffer(id).width;
        (width as u32, stride(width) as u32)
    }

    /// Which rows a buffer has.
    pub(crate) fn rows(&self, id: BufferId) -> Rows {
        self.plan.buffer(id).rows
    }
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
        buffers.chain(scratch).map(|bytes| bytes as usize).fold(0, usize::saturating_add)
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
    pub(crate) fn record(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        operations: std::ops::Range<usize>,
        extents: &Extents,
    ) {
        for phase in self.phases[operations].iter().flatten() {
            phase.record(pass, extents);
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
