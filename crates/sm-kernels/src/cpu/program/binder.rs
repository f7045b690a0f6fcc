//! Collects the phases of a plan, op by op; keeps track of the forms each buffer has, of scratch and of schedules.

use sm_tensor::DType;

use super::recode::{Encode, Round};
use super::{Kernel, Phase};
use crate::cpu::activations::bf16;
use crate::cpu::activations::int8::{BLOCK_LEN, Int8Block};
use crate::cpu::arena::{ArenaLayout, Extents, Footprint, Region, RowCount};
use crate::cpu::buffers::{BufferRegions, PlacedBuffers};
use crate::cpu::forms::{Forms, PlanForms};
use crate::cpu::ops::rope_store::RopeAngles;
use crate::cpu::schedule::AttentionShape;
use crate::cpu::split::By;
use crate::plan::{BufferId, KvDType, KvId, Limits, MatrixId, Plan, PrepareError, Rows};

/// A program under construction.
pub(crate) struct Binder<'a> {
    pub(super) plan: &'a Plan,
    pub(super) limits: Extents,
    pub(super) kv_dtype: KvDType,
    pub(super) phases: Vec<Phase>,
    /// By the index of their schedule.
    pub(super) shapes: Vec<AttentionShape>,
    /// Key heads, by the index of their table of page runs.
    pub(super) run_heads: Vec<usize>,
    /// The angles of each rope.
    pub(super) angles: Vec<Region<f32>>,
    forms: PlanForms,
    /// Every form of the buffers.
    placed: Vec<BufferRegions>,
    /// The forms that hold the buffers' values now.
    current: Vec<BufferRegions>,
    /// Starts behind what all ops share; ops reuse each other's scratch.
    scratch_start: ArenaLayout,
    /// Scratch of the current op.
    scratch: ArenaLayout,
    arena_bytes: usize,
    op: usize,
}

/// The keys and values of a layer.
pub(super) struct KvHeads {
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
}

impl<'a> Binder<'a> {
    /// Without phases; places what all ops share.
    ///
    /// # Errors
    /// If a size overflows.
    pub(super) fn new(
        plan: &'a Plan,
        limits: &Limits,
        extents: Extents,
        forms: PlanForms,
        placed: PlacedBuffers,
        mut layout: ArenaLayout,
    ) -> Result<Self, PrepareError> {
        let mut angles = Vec::with_capacity(plan.ropes.len());
        for table in &plan.ropes {
            let width = 2 * RopeAngles::half_len(table);
            angles.push(layout.region(RowCount::Per(Rows::Tokens, 1), width)?);
        }
        let nothing = BufferRegions { f32: None, int8: None, bf16: None };
        Ok(Self {
            plan,
            limits: extents,
            kv_dtype: limits.kv_dtype,
            phases: Vec::new(),
            shapes: Vec::new(),
            run_heads: Vec::new(),
            angles,
            forms,
            current: vec![nothing; placed.regions.len()],
            placed: placed.regions,
            scratch_start: layout,
            scratch: layout,
            arena_bytes: layout.end(),
            op: 0,
        })
    }

    /// Starts the op `index`.
    pub(super) fn begin_op(&mut self, index: usize) {
        self.op = index;
        self.scratch = self.scratch_start;
    }

    /// Appends a phase.
    pub(super) fn push(&mut self, kernel: impl Into<Kernel>, footprint: Footprint) {
        self.phases.push(Phase { op: self.op, kernel: kernel.into(), footprint });
    }

    /// Phases so far.
    pub(super) fn n_phases(&self) -> usize {
        self.phases.len()
    }

    /// Bytes of the arena so far.
    pub(super) fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// The forms that hold a buffer's values.
    pub(super) fn buffer(&self, id: BufferId) -> BufferRegions {
        self.current[id.index()]
    }

    /// The values of a buffer.
    pub(super) fn values(&self, id: BufferId) -> Region<f32> {
        self.buffer(id).f32.expect("a valid plan writes what it reads, and the forms follow the readers")
    }

    /// The forms of the op's first output that it writes. What it reads must have been taken before.
    pub(super) fn output(&mut self, id: BufferId) -> BufferRegions {
        let written = self.placed[id.index()].only(self.forms.written(self.op, 0));
        self.current[id.index()] = written;
        written
    }

    /// The values of the op's first output, which has no other form.
    pub(super) fn output_values(&mut self, id: BufferId) -> Region<f32> {
        self.output(id).f32.expect("ops that do not encode write values")
    }

    /// Scratch of the current op.
    ///
    /// # Errors
    /// If the size overflows.
    pub(super) fn scratch<T: bytemuck::Pod>(
        &mut self,
        rows: RowCount,
        stride: usize,
    ) -> Result<Region<T>, PrepareError> {
        let region = self.scratch.region(rows, stride)?;
        self.arena_bytes = self.arena_bytes.max(self.scratch.end());
        Ok(region)
    }

    /// Scratch of the current op, placed by `place`.
    ///
    /// # Errors
    /// As `place`.
    pub(super) fn place_scratch<T>(
        &mut self,
        place: impl FnOnce(&mut ArenaLayout) -> Result<T, PrepareError>,
    ) -> Result<T, PrepareError> {
        let placed = place(&mut self.scratch)?;
        self.arena_bytes = self.arena_bytes.max(self.scratch.end());
        Ok(placed)
    }

    /// A row of scratch for each worker.
    ///
    /// # Errors
    /// If the size overflows.
    pub(super) fn per_worker(&mut self, stride: usize) -> Result<Region<f32>, PrepareError> {
        self.scratch(RowCount::PerWorker, stride)
    }

    /// `x` in every form that products with these matrices read; appends phases for the forms that are missing.
    ///
    /// # Errors
    /// If a size overflows.
    pub(super) fn factor(
        &mut self,
        mut x: BufferRegions,
        matrices: &[MatrixId],
    ) -> Result<BufferRegions, PrepareError> {
        let cols = self.plan.matrix(matrices[0]).cols;
        let mut parts = matrices.iter().flat_map(|&id| &self.plan.matrix(id).parts);
        let is_rounded = parts.any(|part| part.dtype == DType::Bf16);
        let f32_form = x.f32;
        let values = || f32_form.expect("rows that are not encoded are values");
        if Forms::of_factors(self.plan, matrices).int8 && x.int8.is_none() {
            let x_values = values();
            let out = self.scratch(x_values.rows(), cols / BLOCK_LEN)?;
            self.encode(x_values, out);
            x.int8 = Some(out);
        }
        if is_rounded && x.bf16.is_none() {
            let x_values = values();
            let out = self.scratch(x_values.rows(), bf16::stride(cols))?;
            let footprint =
                Footprint::default().read(self.limits, x_values).write(self.limits, out, By::Rows(1));
            self.push(Round { x: x_values, cols, out }, footprint);
            x.bf16 = Some(out);
        }
        Ok(x)
    }

    /// Appends a phase that makes the int8 form of rows.
    pub(super) fn encode(&mut self, x: Region<f32>, out: Region<Int8Block>) {
        let footprint = Footprint::default().read(self.limits, x).write(self.limits, out, By::Rows(1));
        self.push(Encode { x, out }, footprint);
    }

    /// The shape of a layer's keys and values; this backend needs keys and values of one width.
    pub(super) fn kv_heads(&self, kv: KvId) -> KvHeads {
        let group = self.plan.cache.group(kv).expect("a valid plan has the layer");
        KvHeads { n_kv_heads: group.n_kv_heads, head_dim: group.key_dim }
    }

    /// The schedule of attentions of a shape.
    pub(super) fn schedule(&mut self, shape: AttentionShape) -> usize {
        index_of(&mut self.shapes, shape)
    }

    /// The table of the rows that go to one page and key head, for layers with this many.
    pub(super) fn page_runs(&mut self, n_kv_heads: usize) -> usize {
        index_of(&mut self.run_heads, n_kv_heads)
    }
}

/// The index of a value in a list; appends it if it is missing.
fn index_of<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    list.iter().position(|known| *known == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    })
}
