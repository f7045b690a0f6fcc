//! What operations are bound with, and what they become: dispatches that are recorded in every step.

use std::sync::Arc;

use super::device::Gpu;
use super::form::{Form, SEGMENT_LEN};
use super::kernel::{Kernel, PARAM_BYTES};
use super::kv_pool::KvPool;
use super::step::{Extents, StepTables};
use super::weights::DeviceWeights;
use crate::plan::{BufferId, Limits, MatrixDecl, Plan, Rows};

/// The parameters of a dispatch.
pub(crate) type Params = [u32; PARAM_BYTES as usize / 4];

/// Values of a row with its padding: whole segments, so that products read vectors. The padding is zero and stays so.
pub(crate) fn stride(width: usize) -> usize {
    width.next_multiple_of(SEGMENT_LEN)
}

/// Vectors of four words of a block of int8: two of codes, one of the scale and sums.
pub(crate) const BLOCK_VECTORS: usize = 3;

/// What products multiply in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Float,
    /// Blocks of int8, with quantized weights.
    Int8,
}

impl Arithmetic {
    /// That of products with weights of a form.
    pub(crate) fn of(gpu: &Gpu, form: Form) -> Self {
        if gpu.int8 && form.is_quantized() { Self::Int8 } else { Self::Float }
    }

    /// Whether products with a matrix, or with a part of it, read blocks.
    pub(crate) fn needs_blocks(gpu: &Gpu, matrix: &MatrixDecl) -> bool {
        matrix.parts.iter().any(|part| Self::of(gpu, Form::of(part.dtype)) == Self::Int8)
    }

    /// Vectors of four from one row of `width` values to the next.
    pub(crate) fn row_vectors(self, width: usize) -> u32 {
        let segments = width.div_ceil(SEGMENT_LEN);
        match self {
            Self::Float => (segments * SEGMENT_LEN / 4) as u32,
            Self::Int8 => (segments * BLOCK_VECTORS) as u32,
        }
    }
}

/// What an operation dispatches in every step.
pub(crate) trait Phase: std::fmt::Debug + Send + Sync {
    /// Records the dispatches for a step of these extents.
    fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents);
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
    fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents) {
        let n_rows = extents.of(self.rows);
        let mut params = self.params;
        params[0] = n_rows;
        recorder.dispatch(&self.kernel, &self.buffers, &params, [self.width, n_rows, 1]);
    }
}

/// Records dispatches into a pass, and counts them.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    pass: wgpu::ComputePass<'a>,
    pub(crate) n_dispatches: u64,
}

impl<'a> Recorder<'a> {
    /// Begins a pass, whose beginning and end `stamps` tells.
    pub(crate) fn begin(
        encoder: &'a mut wgpu::CommandEncoder,
        stamps: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) -> Self {
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: stamps };
        Self { pass: encoder.begin_compute_pass(&descriptor), n_dispatches: 0 }
    }

    /// Records one dispatch, unless it has no workgroups.
    pub(crate) fn dispatch(
        &mut self,
        kernel: &Kernel,
        buffers: &wgpu::BindGroup,
        params: &Params,
        grid: [u32; 3],
    ) {
        if grid.contains(&0) {
            return;
        }
        let [x, y, z] = grid;
        self.pass.set_pipeline(&kernel.pipeline);
        self.pass.set_bind_group(0, buffers, &[]);
        self.pass.set_immediates(0, bytemuck::cast_slice(params));
        self.pass.dispatch_workgroups(x, y, z);
        self.n_dispatches += 1;
    }
}

/// Parameters that begin with these.
pub(crate) fn params(values: &[u32]) -> Params {
    let mut params = Params::default();
    params[..values.len()].copy_from_slice(values);
    params
}

/// What operations are bound with.
pub(crate) struct Binder<'a> {
    pub(crate) gpu: &'a Arc<Gpu>,
    pub(crate) plan: &'a Plan,
    pub(crate) limits: &'a Limits,
    pub(crate) weights: &'a DeviceWeights,
    pub(crate) kv: &'a KvPool,
    pub(crate) tables: &'a StepTables,
    pub(crate) buffers: &'a [wgpu::Buffer],
    /// The same rows as blocks of int8, where products read them so.
    pub(crate) blocks: &'a [Option<wgpu::Buffer>],
    /// Memory that operations share, each for its own time.
    pub(crate) scratch: &'a Scratch,
    /// For bindings that an operation has no use for.
    pub(crate) nothing: &'a wgpu::Buffer,
}

/// Memory that no operation needs longer than it runs.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Gates, and beside them what they multiply.
    pub(crate) gated: wgpu::Buffer,
    /// Partitions of attention.
    pub(crate) partials: wgpu::Buffer,
    /// What [`moe_ffn`](super::ops::moe_ffn) needs.
    pub(crate) experts: [wgpu::Buffer; 6],
}

impl Binder<'_> {
    /// An activation buffer.
    pub(crate) fn buffer(&self, id: BufferId) -> &wgpu::Buffer {
        &self.buffers[id.index()]
    }

    /// An activation buffer as blocks, if products read it so.
    pub(crate) fn blocks(&self, id: BufferId) -> Option<&wgpu::Buffer> {
        self.blocks[id.index()].as_ref()
    }

    /// An activation buffer as products read it.
    pub(crate) fn rows_for(&self, id: BufferId, arithmetic: Arithmetic) -> &wgpu::Buffer {
        match (arithmetic, self.blocks(id)) {
            (Arithmetic::Int8, Some(blocks)) => blocks,
            _ => self.buffer(id),
        }
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
