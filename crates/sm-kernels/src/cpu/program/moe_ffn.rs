//! Phases of a feed-forward of experts: the router, the choice, the gated products, the second products.

use super::BoundKernel;
use super::binder::Binder;
use super::linear::BoundLinear;
use crate::cpu::arena::{Access, Footprint, RowCount};
use crate::cpu::buffers::BufferRegions;
use crate::cpu::forms::Forms;
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::ops::moe_ffn::MoeFfn;
use crate::cpu::ops::product::ProductWorkspace;
use crate::cpu::split::By;
use crate::cpu::step::StepContext;
use crate::plan::{self, Epilogue, PrepareError, Store};

/// The second phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChooseExperts(MoeFfn);

/// The third phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatedExperts(MoeFfn);

/// The fourth phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DownExperts(MoeFfn);

pub(super) fn bind(op: &plan::MoeFfn, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    let &plan::MoeFfn { x, experts, store, out } = op;
    let rows = binder.plan.buffer(x).rows;
    let hidden = binder.plan.buffer(x).width;
    let limits = binder.limits;
    let n_workers = binder.n_workers;
    let ffn_size = binder.plan.matrix(experts.down).cols;
    let inner_forms = Forms::of_factors(binder.plan, &[experts.down]);
    let x = binder.buffer(x);
    let out = binder.output(out);
    let row = RowCount::Per(rows, 1);
    let pair = RowCount::Per(rows, experts.top_k);
    let worker = RowCount::Fixed(n_workers);
    let n_padded = experts.n_experts.next_multiple_of(LANES);
    let mut kernel = MoeFfn {
        x,
        experts,
        store,
        out,
        logits: binder.scratch(row, n_padded)?,
        exps: binder.scratch(worker, n_padded)?,
        chosen: binder.scratch(row, experts.top_k)?,
        weights: binder.scratch(row, experts.top_k)?,
        order: binder.scratch(worker, pair.in_step(limits) + experts.n_experts + 1)?,
        inner: binder.place_scratch(|layout| BufferRegions::place(layout, pair, ffn_size, inner_forms))?,
        results: binder.scratch(pair, hidden.next_multiple_of(LANES))?,
    };
    bind_router(&kernel, binder)?;
    kernel.x = binder.factor(kernel.x, &[experts.gate, experts.up])?;
    let footprint = kernel.x.read(Footprint::default(), limits).read(limits, kernel.chosen);
    let footprint = kernel.inner.write_columns(footprint, limits).write(limits, kernel.order, By::Rows(1));
    binder.push(GatedExperts(kernel), footprint);
    kernel.inner = binder.factor(kernel.inner, &[experts.down])?;
    let results = BufferRegions::only_f32(kernel.results);
    let footprint = Footprint::default().read(limits, kernel.order).read(limits, kernel.weights);
    let footprint = kernel.inner.read(footprint.read(limits, kernel.chosen), limits);
    let footprint = kernel.out.write_columns(results.write_columns(footprint, limits), limits);
    binder.push(DownExperts(kernel), footprint);
    Ok(())
}

/// The router's product, and the choice by it.
fn bind_router(kernel: &MoeFfn, binder: &mut Binder<'_>) -> Result<(), PrepareError> {
    let limits = binder.limits;
    let logits = BufferRegions::only_f32(kernel.logits);
    let router = BoundLinear {
        x: binder.factor(kernel.x, &[kernel.experts.router])?,
        weight: kernel.experts.router,
        bias: None,
        epilogue: Epilogue::None,
        store: Store::Write,
        out: logits,
    };
    let footprint = logits.write_columns(router.x.read(Footprint::default(), limits), limits);
    binder.push(router, footprint);
    let footprint = Footprint::default().read(limits, kernel.logits).write(limits, kernel.exps, By::Rows(1));
    let footprint = footprint.write(limits, kernel.chosen, By::Rows(1));
    binder.push(ChooseExperts(*kernel), footprint.write(limits, kernel.weights, By::Rows(1)));
    Ok(())
}

impl BoundKernel for ChooseExperts {
    fn run<I: Isa>(
        &self,
        isa: I,
        _step: &StepContext<'_>,
        access: &Access<'_>,
        _workspace: &mut ProductWorkspace,
    ) {
        self.0.choose(isa, access);
    }
}

impl BoundKernel for GatedExperts {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    ) {
        self.0.gated(isa, step, access, workspace);
    }
}

impl BoundKernel for DownExperts {
    fn run<I: Isa>(
        &self,
        isa: I,
        step: &StepContext<'_>,
        access: &Access<'_>,
        workspace: &mut ProductWorkspace,
    ) {
        self.0.down(isa, step, access, workspace);
    }
}
