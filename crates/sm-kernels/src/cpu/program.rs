//! A plan, bound to the arena: the phases that the workers walk.

mod bind;

use super::arena::{Access, Extents, Footprint, Region};
use super::buffers::BufferRegions;
use super::step::StepContext;
use crate::cpu::activations::bf16::{self, Bf16Slot};
use crate::cpu::activations::int8::{self, Int8Block, encode_row};
use crate::cpu::isa::Isa;
use crate::cpu::ops::attention::Attention;
use crate::cpu::ops::embed::Embed;
use crate::cpu::ops::gather_rows::GatherRows;
use crate::cpu::ops::linear::{GatedLinear, Linear};
use crate::cpu::ops::moe_ffn::MoeFfn;
use crate::cpu::ops::norm::Norm;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::ops::rope_store::{RopeAngles, RopeStore};
use crate::cpu::schedule::AttentionShape;
use crate::plan::{Activation, Epilogue, KvDType, MatrixId, Store, VectorId};

/// What the workers do between two barriers.
#[derive(Debug)]
pub(crate) struct Phase {
    /// The op that it is part of.
    pub(crate) op: usize,
    task: Task,
    footprint: Footprint,
}

impl AsRef<Footprint> for Phase {
    fn as_ref(&self) -> &Footprint {
        &self.footprint
    }
}

/// The phases of a plan.
#[derive(Debug)]
pub(crate) struct Program {
    /// In the order of the ops.
    pub(crate) phases: Vec<Phase>,
    /// The regions of the plan's buffers.
    pub(crate) buffers: Vec<BufferRegions>,
    /// The logits, if the plan has any.
    pub(crate) logits: Option<Region<f32>>,
    /// The hidden state, if the plan names it.
    pub(crate) hidden: Option<Region<f32>>,
    /// Bytes of the logits, at the start of the arena.
    pub(crate) logits_bytes: usize,
    /// The shapes of the attentions, by the index of their schedule.
    pub(crate) shapes: Vec<AttentionShape>,
    /// Bytes of the arena.
    pub(crate) arena_bytes: usize,
    /// The largest steps.
    pub(crate) limits: Extents,
}

/// A part of an op.
#[derive(Debug)]
enum Task {
    RopeAngles(RopeAngles),
    Embed(Embed),
    Norm(Norm),
    Linear(LinearTask),
    GatedLinear(GatedTask),
    RopeStore(RopeStore, KvDType),
    Attend(Attention, KvDType),
    MergeAttention(Attention),
    Encode(Encode),
    Round(Round),
    ChooseExperts(MoeFfn),
    GatedExperts(MoeFfn),
    DownExperts(MoeFfn),
    GatherRows(GatherRows),
}

#[derive(Clone, Copy, Debug)]
struct LinearTask {
    x: BufferRegions,
    weight: MatrixId,
    bias: Option<VectorId>,
    epilogue: Epilogue,
    store: Store,
    out: BufferRegions,
}

#[derive(Clone, Copy, Debug)]
struct GatedTask {
    x: BufferRegions,
    gate: MatrixId,
    up: MatrixId,
    activation: Activation,
    out: BufferRegions,
}

/// Makes the int8 form of rows.
#[derive(Clone, Copy, Debug)]
struct Encode {
    x: Region<f32>,
    out: Region<Int8Block>,
}

/// Rounds rows for weights in BF16.
#[derive(Clone, Copy, Debug)]
struct Round {
    x: Region<f32>,
    cols: usize,
    out: Region<Bf16Slot>,
}

impl Phase {
    /// This worker's part.
    pub(crate) fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        scratch: &mut ProductWorkspace,
    ) {
        match &self.task {
            Task::RopeAngles(task) => task.run(step, access),
            Task::Embed(task) => task.run(isa, step, access),
            Task::Norm(task) => task.run(isa, step, access),
            Task::Linear(task) => task.run(isa, step, access, scratch),
            Task::GatedLinear(task) => task.run(isa, step, access, scratch),
            Task::RopeStore(task, KvDType::F16) => task.run::<I, u16>(isa, step, access),
            Task::RopeStore(task, KvDType::F32) => task.run::<I, f32>(isa, step, access),
            Task::RopeStore(task, KvDType::Q8_0) => task.run::<I, i8>(isa, step, access),
            Task::Attend(task, KvDType::F16) => task.attend::<I, u16>(isa, step, access),
            Task::Attend(task, KvDType::F32) => task.attend::<I, f32>(isa, step, access),
            Task::Attend(task, KvDType::Q8_0) => task.attend::<I, i8>(isa, step, access),
            Task::MergeAttention(task) => task.merge(isa, step, access),
            Task::Encode(task) => task.run(isa, access),
            Task::Round(task) => task.run(isa, access),
            Task::ChooseExperts(task) => task.choose(isa, access),
            Task::GatedExperts(task) => task.gated(isa, step, access, scratch),
            Task::DownExperts(task) => task.down(isa, step, access, scratch),
            Task::GatherRows(task) => task.run(step, access),
        }
    }
}

impl LinearTask {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        scratch: &mut ProductWorkspace,
    ) {
        let linear = Linear {
            x: self.x.input(access),
            weight: step.weights.matrix(self.weight),
            bias: self.bias.map(|id| step.weights.vector(id)),
            epilogue: self.epilogue,
            store: self.store,
        };
        linear.run(isa, &mut self.out.output(access), scratch);
    }
}

impl GatedTask {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        scratch: &mut ProductWorkspace,
    ) {
        let (gate, up) = (step.weights.matrix(self.gate), step.weights.matrix(self.up));
        let linear = GatedLinear { x: self.x.input(access), gate, up, activation: self.activation };
        linear.run(isa, &mut self.out.output(access), scratch);
    }
}

impl Encode {
    fn run<I: Isa>(&self, isa: I, access: &Access<'_>) {
        let x = access.read(self.x);
        let mut out = access.share(self.out);
        isa.enter(
            #[inline(always)]
            || {
                for row in out.rows() {
                    let blocks = out.row_mut(row);
                    let values = &x[row * self.x.stride()..][..blocks.len() * int8::BLOCK_LEN];
                    encode_row(isa, values, blocks);
                }
            },
        );
    }
}

impl Round {
    fn run<I: Isa>(&self, isa: I, access: &Access<'_>) {
        let x = access.read(self.x);
        let mut out = access.share(self.out);
        for row in out.rows() {
            bf16::round_row(isa, &x[row * self.x.stride()..][..self.cols], out.row_mut(row));
        }
    }
}
