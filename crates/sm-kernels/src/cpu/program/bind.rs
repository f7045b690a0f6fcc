//! Makes the phases of a plan.

use sm_tensor::DType;

use super::{Encode, GatedTask, LinearTask, Phase, Program, Round, Task};
use crate::cpu::activations::bf16;
use crate::cpu::activations::int8::BLOCK_LEN;
use crate::cpu::arena::{ArenaLayout, Extents, Footprint, KvUse, Region, RowCount, Shares};
use crate::cpu::buffers::{BufferRegions, place_buffers};
use crate::cpu::isa::LANES;
use crate::cpu::ops::attention::{Attention, AttentionConfig, AttentionWorkspace};
use crate::cpu::ops::embed::Embed;
use crate::cpu::ops::gather_rows::GatherRows;
use crate::cpu::ops::moe_ffn::MoeFfn;
use crate::cpu::ops::norm::Norm;
use crate::cpu::ops::rope_store::{RopeAngles, RopeStore, Rotation};
use crate::cpu::schedule::AttentionShape;
use crate::cpu::split::By;
use crate::plan::{
    self, BufferId, Encoding, Epilogue, KvDType, KvId, Limits, MatrixId, Op, Plan, PrepareError, RopeId,
    Rows, Store,
};

impl Program {
    /// The phases of a valid plan, for steps within `limits` and a team of `n_workers`.
    ///
    /// # Errors
    /// If a size overflows.
    pub(crate) fn bind(plan: &Plan, limits: &Limits, n_workers: usize) -> Result<Self, PrepareError> {
        let extents = Extents { n_tokens: limits.max_tokens, n_outputs: limits.max_outputs };
        let mut layout = ArenaLayout::new(extents, 0);
        let (buffers, logits_bytes) = place_buffers(plan, &mut layout)?;
        let mut angles = Vec::with_capacity(plan.ropes.len());
        for table in &plan.ropes {
            let width = 2 * RopeAngles::half_len(table);
            angles.push(layout.region(RowCount::Per(Rows::Tokens, 1), width)?);
        }
        let mut binder = Binder {
            plan,
            limits: extents,
            n_workers,
            kv_dtype: limits.kv_dtype,
            scratch_end: layout.end(),
            scratch: layout,
            buffers,
            angles,
            shapes: Vec::new(),
            phases: Vec::new(),
            op: 0,
        };
        binder.rope_angles();
        for (index, op) in plan.ops.iter().enumerate() {
            binder.op = index;
            // No op needs the scratch of another.
            binder.scratch = layout;
            binder.bind(op)?;
            binder.scratch_end = binder.scratch_end.max(binder.scratch.end());
        }
        Ok(Self {
            logits: plan.logits.map(|id| binder.f32(id)),
            hidden: plan.hidden.map(|id| binder.f32(id)),
            phases: binder.phases,
            logits_bytes,
            buffers: binder.buffers,
            shapes: binder.shapes,
            arena_bytes: binder.scratch_end,
            limits: extents,
        })
    }
}

struct Binder<'a> {
    plan: &'a Plan,
    limits: Extents,
    n_workers: usize,
    kv_dtype: KvDType,
    scratch: ArenaLayout,
    scratch_end: usize,
    buffers: Vec<BufferRegions>,
    /// The angles of each rope.
    angles: Vec<Region<f32>>,
    shapes: Vec<AttentionShape>,
    phases: Vec<Phase>,
    op: usize,
}

fn f32_of(buffer: BufferRegions) -> Region<f32> {
    buffer.f32.expect("a valid plan gives the buffer an f32 form")
}

/// The keys and values of a layer.
struct HeadShape {
    n_kv_heads: usize,
    head_dim: usize,
}

impl Binder<'_> {
    fn push(&mut self, task: Task, footprint: Footprint) {
        self.phases.push(Phase { op: self.op, task, footprint });
    }

    fn buffer(&self, id: BufferId) -> BufferRegions {
        self.buffers[id.index()]
    }

    fn f32(&self, id: BufferId) -> Region<f32> {
        f32_of(self.buffer(id))
    }

    /// A row of scratch for each worker.
    fn per_worker(&mut self, stride: usize) -> Result<Region<f32>, PrepareError> {
        self.scratch.region(RowCount::Fixed(self.n_workers), stride)
    }

    fn rope_angles(&mut self) {
        for (table, &out) in self.plan.ropes.iter().zip(&self.angles.clone()) {
            let footprint = Footprint::default().write(self.limits, out, By::Rows(1));
            self.push(Task::RopeAngles(RopeAngles { table: table.clone(), out }), footprint);
        }
    }

    fn bind(&mut self, op: &Op) -> Result<(), PrepareError> {
        match *op {
            Op::Input(_) => return Err(PrepareError::Unsupported("external inputs".to_owned())),
            Op::Embed(plan::Embed { table, positions, scale, out }) => {
                let out = self.f32(out);
                let work = self.per_worker(out.stride())?;
                let footprint = Footprint::default().write(self.limits, out, By::Rows(1));
                let footprint = footprint.write(self.limits, work, By::Rows(1));
                self.push(Task::Embed(Embed { table, positions, scale, out, work }), footprint);
            }
            Op::Norm(plan::Norm { x, kind, weight, bias, eps, store, out }) => {
                let (width, x, out) = (self.plan.buffer(x).width, self.f32(x), self.buffer(out));
                let footprint = out.write_rows(Footprint::default().read(self.limits, x), self.limits);
                self.push(Task::Norm(Norm { x, width, kind, weight, bias, eps, store, out }), footprint);
            }
            Op::Linear(plan::Linear { x, weight, bias, epilogue, store, out }) => {
                let depth = self.plan.matrix(weight).cols;
                let (x, out) = (self.rounded(self.buffer(x), &[weight])?, self.buffer(out));
                let footprint = x.read(Footprint::default(), self.limits);
                let footprint = out.write_products(footprint, self.limits, depth);
                self.push(Task::Linear(LinearTask { x, weight, bias, epilogue, store, out }), footprint);
            }
            Op::GatedLinear(plan::GatedLinear { x, gate, up, activation, out }) => {
                let depth = self.plan.matrix(gate).cols + self.plan.matrix(up).cols;
                let (x, out) = (self.rounded(self.buffer(x), &[gate, up])?, self.buffer(out));
                let footprint = x.read(Footprint::default(), self.limits);
                let footprint = out.write_products(footprint, self.limits, depth);
                self.push(Task::GatedLinear(GatedTask { x, gate, up, activation, out }), footprint);
            }
            Op::RopeStore(op) => self.rope_store(op)?,
            Op::Attention(op) => self.attention(op)?,
            Op::MoeFfn(op) => self.moe_ffn(op)?,
            Op::GatherRows(plan::GatherRows { x, out }) => {
                let (x, out) = (self.f32(x), self.f32(out));
                let footprint =
                    Footprint::default().read(self.limits, x).write(self.limits, out, By::Rows(1));
                self.push(Task::GatherRows(GatherRows { x, out }), footprint);
            }
        }
        Ok(())
    }

    /// `x`, and its rows rounded to BF16 by a phase, if one of the matrices that will be multiplied with it has such weights.
    fn rounded(&mut self, x: BufferRegions, matrices: &[MatrixId]) -> Result<BufferRegions, PrepareError> {
        let mut parts = matrices.iter().flat_map(|&id| &self.plan.matrix(id).parts);
        if !parts.any(|part| part.dtype == DType::Bf16) {
            return Ok(x);
        }
        let (values, cols) = (f32_of(x), self.plan.matrix(matrices[0]).cols);
        let out = self.scratch.region(values.rows(), bf16::stride(cols))?;
        let footprint = Footprint::default().read(self.limits, values).write(self.limits, out, By::Rows(1));
        self.push(Task::Round(Round { x: values, cols, out }), footprint);
        Ok(BufferRegions { bf16: Some(out), ..x })
    }

    fn rotation(&self, id: RopeId) -> Rotation {
        let table = self.plan.rope(id);
        Rotation { angles: self.angles[id.index()], n_pairs: table.inv_freq.len(), pairs: table.pairs }
    }

    fn rope_store(&mut self, op: plan::RopeStore) -> Result<(), PrepareError> {
        let plan::RopeStore { qkv, kv, rope, q_norm, k_norm, norm_eps, q } = op;
        let HeadShape { n_kv_heads, head_dim } = self.heads(kv);
        let heads_per_kv = self.plan.buffer(q).width / (head_dim * n_kv_heads);
        let (qkv, q, rotation) = (self.f32(qkv), self.f32(q), rope.map(|id| self.rotation(id)));
        let work = self.per_worker(head_dim.next_multiple_of(LANES))?;
        let tiles = By::Tiles { table: Shares::PAGE_RUNS, unit: heads_per_kv * head_dim };
        let mut footprint = Footprint::default().read(self.limits, qkv).write(self.limits, q, tiles);
        footprint = footprint.write(self.limits, work, By::Rows(1)).kv(KvUse::Write(kv.index()));
        if let Some(rotation) = rotation {
            footprint = footprint.read(self.limits, rotation.angles);
        }
        let task = RopeStore {
            qkv,
            q,
            work,
            rotation,
            q_norm,
            k_norm,
            norm_eps,
            n_kv_heads,
            head_dim,
            heads_per_kv,
        };
        self.push(Task::RopeStore(task, self.kv_dtype), footprint);
        Ok(())
    }

    fn heads(&self, kv: KvId) -> HeadShape {
        let group = self.plan.cache.group(kv).expect("a valid plan has the layer");
        HeadShape { n_kv_heads: group.n_kv_heads, head_dim: group.key_dim }
    }

    /// The schedule of attentions of a shape.
    fn schedule(&mut self, shape: AttentionShape) -> usize {
        let known = self.shapes.iter().position(|known| *known == shape);
        known.unwrap_or_else(|| {
            self.shapes.push(shape);
            self.shapes.len() - 1
        })
    }

    fn attention(&mut self, op: plan::Attention) -> Result<(), PrepareError> {
        let plan::Attention { q, kv, n_heads, scale, window, soft_cap, out } = op;
        let HeadShape { n_kv_heads, head_dim } = self.heads(kv);
        let shape = AttentionShape { heads_per_kv: n_heads / n_kv_heads, window };
        let config = AttentionConfig { shape, head_dim, scale, soft_cap };
        let (q, out) = (self.f32(q), self.buffer(out));
        let workspace =
            AttentionWorkspace::new(&mut self.scratch, &config, self.plan.context_len, self.n_workers)?;
        let schedule = self.schedule(shape);
        let values = match out.f32 {
            Some(region) => region,
            None => self.scratch.region(RowCount::Per(Rows::Tokens, 1), q.stride())?,
        };
        let unit = shape.heads_per_kv * head_dim;
        let whole_blocks = unit.is_multiple_of(BLOCK_LEN);
        let encoded = out.int8.filter(|_| whole_blocks);
        let task = Attention { q, out: values, encoded, workspace, schedule, config };
        let write = |footprint: Footprint, limits| {
            let footprint = footprint.write(limits, values, By::Tiles { table: schedule + 1, unit });
            let footprint = footprint.write(limits, workspace.private, By::Rows(1));
            let Some(encoded) = encoded else { return footprint };
            footprint.write(limits, encoded, By::Tiles { table: schedule + 1, unit: unit / BLOCK_LEN })
        };
        let footprint = write(Footprint::default().read(self.limits, q), self.limits);
        let footprint =
            footprint.write(self.limits, workspace.shared, By::Rows(1)).kv(KvUse::Read(kv.index()));
        self.push(Task::Attend(task, self.kv_dtype), footprint);
        let footprint = write(Footprint::default().read(self.limits, workspace.shared), self.limits);
        self.push(Task::MergeAttention(task), footprint);
        if let Some(encoded) = out.int8.filter(|_| !whole_blocks) {
            let footprint =
                Footprint::default().read(self.limits, values).write(self.limits, encoded, By::Rows(1));
            self.push(Task::Encode(Encode { x: values, out: encoded }), footprint);
        }
        Ok(())
    }

    fn moe_ffn(&mut self, op: plan::MoeFfn) -> Result<(), PrepareError> {
        let plan::MoeFfn { x, experts, store, out } = op;
        let (rows, hidden) = (self.plan.buffer(x).rows, self.plan.buffer(x).width);
        let down = self.plan.matrix(experts.down);
        let (x, out, scratch) = (self.buffer(x), self.buffer(out), &mut self.scratch);
        let (row, pair) = (RowCount::Per(rows, 1), RowCount::Per(rows, experts.top_k));
        let max_pairs = pair.in_step(self.limits);
        let encoding = match (down.has_floats(), down.has_quantized()) {
            (true, true) => Encoding::F32AndInt8,
            (true, false) => Encoding::F32,
            (false, _) => Encoding::Int8,
        };
        let task = MoeFfn {
            x,
            experts,
            store,
            out,
            logits: scratch.region(row, experts.n_experts.next_multiple_of(LANES))?,
            exps: scratch
                .region(RowCount::Fixed(self.n_workers), experts.n_experts.next_multiple_of(LANES))?,
            chosen: scratch.region(row, experts.top_k)?,
            weights: scratch.region(row, experts.top_k)?,
            order: scratch.region(RowCount::Fixed(self.n_workers), max_pairs + experts.n_experts + 1)?,
            inner: BufferRegions::place(scratch, pair, down.cols, encoding)?,
            results: scratch.region(pair, hidden.next_multiple_of(LANES))?,
        };
        self.moe_phases(task)
    }

    fn moe_phases(&mut self, mut task: MoeFfn) -> Result<(), PrepareError> {
        let limits = self.limits;
        let logits = BufferRegions::only_f32(task.logits);
        let router = LinearTask {
            x: self.rounded(task.x, &[task.experts.router])?,
            weight: task.experts.router,
            bias: None,
            epilogue: Epilogue::None,
            store: Store::Write,
            out: logits,
        };
        let footprint = logits.write_columns(router.x.read(Footprint::default(), limits), limits);
        self.push(Task::Linear(router), footprint);
        let footprint = Footprint::default().read(limits, task.logits).write(limits, task.exps, By::Rows(1));
        let footprint =
            footprint.write(limits, task.chosen, By::Rows(1)).write(limits, task.weights, By::Rows(1));
        self.push(Task::ChooseExperts(task), footprint);
        task.x = self.rounded(task.x, &[task.experts.gate, task.experts.up])?;
        let footprint = task.x.read(Footprint::default(), limits).read(limits, task.chosen);
        let footprint = task.inner.write_columns(footprint, limits).write(limits, task.order, By::Rows(1));
        self.push(Task::GatedExperts(task), footprint);
        task.inner = self.rounded(task.inner, &[task.experts.down])?;
        let results = BufferRegions::only_f32(task.results);
        let footprint = Footprint::default().read(limits, task.order).read(limits, task.weights);
        let footprint = task.inner.read(footprint.read(limits, task.chosen), limits);
        let footprint = task.out.write_columns(results.write_columns(footprint, limits), limits);
        self.push(Task::DownExperts(task), footprint);
        Ok(())
    }
}
