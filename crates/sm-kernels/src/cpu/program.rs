//! A plan bound to memory: the phases that the workers walk, with a barrier after each.
//!
//! ```text
//! op                phases
//! embed, norm       embed; norm
//! linear            [round] linear                                  round: activations for weights in BF16
//! attention         attend, merge [encode]                          encode: int8 rows that the kernel cannot write itself
//! moe_ffn           [round] router, choose, [round] gated, [round] down
//! ```
//!
//! Everything that can be known before a step is decided here, once: where buffers lie, which forms of them are written,
//! who writes which rows or columns. A step then only runs kernels.
//!
//! A new operation needs a kernel in `ops/`, a file here that turns it into phases, a line in [`bind_op`], and a line for
//! each of its kernels in the table below.

mod attention;
mod binder;
mod embed;
mod gated_linear;
mod gather_rows;
mod input;
mod linear;
mod moe_ffn;
mod norm;
mod recode;
mod rope_store;
mod sigmoid_gate;

use super::arena::{Access, ArenaLayout, Extents, Footprint, Region};
use super::buffers::{BufferRegions, PlacedBuffers};
use super::forms::PlanForms;
use super::step::StepContext;
use crate::cpu::isa::Isa;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::schedule::AttentionShape;
use crate::plan::{Limits, Op, Plan, PrepareError};
use binder::Binder;

/// What the workers do between two barriers.
#[derive(Debug)]
pub(crate) struct Phase {
    /// The op that it is part of.
    pub(crate) op: usize,
    kernel: Kernel,
    footprint: Footprint,
}

impl Phase {
    /// Computes a part of the phase.
    pub(crate) fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    ) {
        self.kernel.run(isa, step, access, workspace);
    }
}

impl AsRef<Footprint> for Phase {
    fn as_ref(&self) -> &Footprint {
        &self.footprint
    }
}

/// A kernel with the regions and weights that it works on.
trait BoundKernel {
    /// Computes a part of a phase.
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    );
}

/// Declares [`Kernel`]: a line for each kernel.
macro_rules! kernels {
    ($($name:ident($kernel:ty),)+) => {
        /// What a phase runs.
        #[derive(Debug)]
        enum Kernel {
            $($name($kernel),)+
        }

        impl Kernel {
            fn run<I: Isa>(
                &self,
                isa: I,
                step: &StepContext<'_>,
                access: &Access<'_>,
                workspace: &mut ProductWorkspace,
            ) {
                match self {
                    $(Self::$name(kernel) => BoundKernel::run(kernel, isa, step, access, workspace),)+
                }
            }
        }

        $(impl From<$kernel> for Kernel {
            fn from(kernel: $kernel) -> Self {
                Self::$name(kernel)
            }
        })+
    };
}

kernels! {
    Input(input::InputRows),
    Embed(crate::cpu::ops::embed::Embed),
    Norm(crate::cpu::ops::norm::Norm),
    Linear(linear::BoundLinear),
    GatedLinear(gated_linear::BoundGatedLinear),
    RopeAngles(crate::cpu::ops::rope_store::RopeAngles),
    RopeStore(rope_store::BoundRopeStore),
    Attend(attention::Attend),
    MergeAttention(attention::MergeAttention),
    Encode(recode::Encode),
    Round(recode::Round),
    ChooseExperts(moe_ffn::ChooseExperts),
    GatedExperts(moe_ffn::GatedExperts),
    DownExperts(moe_ffn::DownExperts),
    SigmoidGate(crate::cpu::ops::sigmoid_gate::SigmoidGate),
    GatherRows(crate::cpu::ops::gather_rows::GatherRows),
}

/// Appends the phases of an op: a line for each operation.
fn bind_op(op: &Op, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    match op {
        Op::Input(op) => input::bind(op, binder),
        Op::Embed(op) => return embed::bind(op, binder),
        Op::Norm(op) => norm::bind(op, binder),
        Op::Linear(op) => return linear::bind(op, binder),
        Op::GatedLinear(op) => return gated_linear::bind(op, binder),
        Op::RopeStore(op) => return rope_store::bind(op, binder),
        Op::Attention(op) => return attention::bind(op, binder),
        Op::MoeFfn(op) => return moe_ffn::bind(op, binder),
        Op::SigmoidGate(op) => sigmoid_gate::bind(op, binder),
        Op::GatherRows(op) => gather_rows::bind(op, binder),
    }
    Ok(())
}

/// The phases of a plan.
#[derive(Debug)]
pub(crate) struct Program {
    /// In the order of the ops.
    pub(crate) phases: Vec<Phase>,
    /// For each op the regions of its first output, those forms that it writes.
    pub(crate) outputs: Vec<BufferRegions>,
    /// The logits, if the plan has any.
    pub(crate) logits: Option<Region<f32>>,
    /// The hidden state, if the plan names it.
    pub(crate) hidden: Option<Region<f32>>,
    /// Phases up to the one that computes the hidden state.
    pub(crate) n_hidden_phases: usize,
    /// Bytes of the logits, at the start of the arena.
    pub(crate) logits_bytes: usize,
    /// The shapes of the attentions, by the index of their schedule.
    pub(crate) shapes: Vec<AttentionShape>,
    /// Key heads of the layers that store pages, by the index of their table of page runs; at least one.
    pub(crate) run_heads: Vec<usize>,
    /// Bytes of the arena.
    pub(crate) arena_bytes: usize,
    /// The largest steps.
    pub(crate) limits: Extents,
}

impl Program {
    /// The phases of a valid plan, for steps within `limits` and a team of `n_workers`.
    ///
    /// # Errors
    /// If a size overflows.
    pub(crate) fn bind(plan: &Plan, limits: &Limits, n_workers: usize) -> Result<Self, PrepareError> {
        let extents = Extents { n_tokens: limits.max_tokens, n_outputs: limits.max_outputs, n_workers };
        let mut layout = ArenaLayout::new(extents, 0);
        let forms = PlanForms::of(plan);
        let placed = PlacedBuffers::place(plan, &forms, &mut layout)?;
        let logits_bytes = placed.logits_bytes;
        let mut binder = Binder::new(plan, limits, extents, forms, placed, layout)?;
        rope_store::bind_angles(&mut binder);
        let mut outputs = Vec::with_capacity(plan.ops.len());
        let mut n_hidden_phases = 0;
        for (index, op) in plan.ops.iter().enumerate() {
            binder.begin_op(index);
            bind_op(op, &mut binder)?;
            let writes = op.writes();
            outputs.push(binder.buffer(writes[0].buffer));
            if writes.iter().any(|write| Some(write.buffer) == plan.hidden) {
                n_hidden_phases = binder.n_phases();
            }
        }
        Ok(Self {
            logits: plan.logits.map(|id| binder.values(id)),
            hidden: plan.hidden.map(|id| binder.values(id)),
            n_hidden_phases,
            outputs,
            logits_bytes,
            arena_bytes: binder.arena_bytes(),
            limits: extents,
            run_heads: binder.run_heads,
            shapes: binder.shapes,
            phases: binder.phases,
        })
    }
}
