//! The executor: runs a program step by step on a team of workers.
//!
//! The calling thread is one of the workers, so a step is over when [`Executor::submit`] returns, and one can be in flight.
//! Its logits are handed to the caller with their memory; the next step writes into what the caller had before.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sm_tensor::PageId;

use super::arena::{Arena, Region, StepMemory};
use super::estimate::StepEstimate;
use super::kv_pool::KvPool;
use super::profiler::Profiler;
use super::program::{Phase, Program};
use super::select::{LogitRows, Selections};
use super::speed;
use super::step::{StepContext, StepTables};
use super::team::{Team, WorkerPanic};
use super::team_size::{StepTime, TeamSize};
use super::weights::PackedWeights;
use super::worker_state::WorkerState;
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor};
use crate::cpu::ops::product::ProductWorkspace;
use crate::plan::{
    ExecError, Executor, ExecutorInfo, Limits, OutputRow, Plan, PrepareError, Profile, StepBatch, StepOutput,
    StepRules, Wanted, Weights,
};

/// A plan made ready to run on a team.
#[derive(Debug)]
pub(crate) struct CpuExecutor {
    info: ExecutorInfo,
    limits: Limits,
    plan: Plan,
    isa: IsaKind,
    team: Team,
    sizes: TeamSize,
    /// One for each worker.
    workers: Vec<WorkerState>,
    weights: Arc<PackedWeights>,
    program: Program,
    tables: StepTables,
    memory: StepMemory,
    profiler: Option<Profiler>,
    /// The result of a step that was not waited for.
    submitted: Option<Result<(), ExecError>>,
    /// What it gives.
    outputs: Vec<OutputRow>,
    selections: Selections,
}

impl CpuExecutor {
    /// An executor whose steps have as many workers of `team` as `sizes` chooses.
    ///
    /// # Errors
    /// If a size overflows, or the system refuses memory.
    pub(crate) fn new(
        plan: &Plan,
        weights: Arc<PackedWeights>,
        mut team: Team,
        mut sizes: TeamSize,
        isa: IsaKind,
        limits: Limits,
    ) -> Result<Self, PrepareError> {
        let n_workers = team.n_workers();
        let program = Program::bind(plan, &limits, n_workers)?;
        let kv = KvPool::new(&plan.cache, limits.n_pages, limits.kv_dtype)?;
        let arena = Arena::new(program.limits, program.logits_bytes, program.arena_bytes)?;
        let max_cols = weights.max_cols();
        let info = ExecutorInfo {
            kernels: format!("cpu {isa}"),
            n_workers,
            row_group: isa.dispatch(RowGroup),
            max_top_k: 0,
            weight_bytes: weights.n_bytes(),
            kv_bytes: kv.n_bytes(),
            activation_bytes: arena.n_bytes() + n_workers * ProductWorkspace::n_bytes(max_cols),
        };
        let rules = StepRules::new(plan, limits);
        if !sizes.is_fixed() {
            let estimate = StepEstimate::new(plan, limits.kv_dtype, program.phases.len(), &mut team);
            sizes.begin_with(|n_rows| estimate.n_workers(n_rows, n_workers));
        }
        Ok(Self {
            info,
            limits,
            plan: plan.clone(),
            isa,
            workers: (0..n_workers).map(|_| WorkerState::new(ProductWorkspace::new(max_cols))).collect(),
            team,
            sizes,
            weights,
            tables: StepTables::new(rules, &limits, n_workers, &program.run_heads, &program.shapes),
            program,
            memory: StepMemory::new(arena, kv, n_workers),
            profiler: None,
            submitted: None,
            outputs: Vec::with_capacity(limits.max_outputs),
            selections: Selections::default(),
        })
    }

    /// Runs some phases of the step that the tables describe. Returns the longest time that a worker waited for others.
    fn run_phases(&mut self, batch: &StepBatch<'_>, phases: Range<usize>) -> Result<Duration, ExecError> {
        let step = StepContext { batch, tables: &self.tables, weights: &self.weights };
        let waited = self.isa.dispatch(Run {
            step: &step,
            phases: &self.program.phases[phases],
            team: &mut self.team,
            workers: &mut self.workers,
            memory: &mut self.memory,
        });
        // Weights that changed meanwhile may have led to anything, a panic included, so this error is the one to report.
        self.weights.check_intact()?;
        Ok(waited?)
    }

    /// Runs the phases that the outputs of a step need: the output head is half of a small model, and embeddings do without.
    fn compute(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let is_hidden = |output: &OutputRow| output.wanted == Wanted::Hidden;
        let is_short = !batch.outputs.is_empty() && batch.outputs.iter().all(is_hidden);
        let end = if is_short { self.program.n_hidden_phases } else { self.program.phases.len() };
        let began = Instant::now();
        let waited = self.run_phases(batch, 0..end)?;
        if !is_short && self.profiler.is_none() {
            self.sizes.record(batch.tokens.len(), StepTime { total: began.elapsed(), waited });
        }
        Ok(())
    }

    /// Selects from the logits of the step where not all are wanted.
    fn select(&mut self) -> Result<(), WorkerPanic> {
        let Some(region) = self.program.logits else { return Ok(()) };
        let values = self.memory.arena.region_mut(region, self.tables.shares().extents);
        let vocab_size = self.plan.vocab_size();
        let logits = LogitRows { values, stride: region.stride(), vocab_size };
        let n_workers = self.tables.shares().extents.n_workers;
        self.selections.select(&mut self.team, n_workers, self.isa, &self.outputs, logits)
    }

    /// Hands over what the outputs of the step want.
    fn give_outputs(&mut self, output: &mut StepOutput) {
        let extents = self.tables.shares().extents;
        let stride = self.program.logits.map_or(0, Region::stride);
        for (index, wanted) in self.outputs.iter().map(|output| output.wanted).enumerate() {
            match wanted {
                Wanted::Logits => output.push_row(index * stride..index * stride + self.plan.vocab_size()),
                Wanted::ArgMax | Wanted::TopK(_) => self.selections.push(index, wanted, output),
                Wanted::Hidden => {
                    let region = self.program.hidden.expect("the batch was checked");
                    let rows = self.memory.arena.region_mut(region, extents);
                    output.push_hidden(&rows[index * region.stride()..][..self.plan.hidden_size()]);
                }
            }
        }
        self.memory.arena.hand_over_logits(output);
    }

    /// Checks that pages are in the pool.
    fn check_pages(&self, pages: impl IntoIterator<Item = PageId>) -> Result<(), ExecError> {
        let n_pages = self.memory.kv.n_pages();
        pages.into_iter().find(|page| n_pages <= page.0 as usize).map_or(Ok(()), |page| {
            let reason = format!("page {} is copied, but the pool has {n_pages}", page.0);
            Err(ExecError::InvalidBatch { reason })
        })
    }

    /// Checks that pages are in the pool and have `n_bytes` bytes together.
    fn check_copy(&self, pages: &[PageId], n_bytes: usize) -> Result<(), ExecError> {
        self.check_pages(pages.iter().copied())?;
        let n_pages = pages.len();
        let page_bytes = self.page_bytes();
        if n_pages.checked_mul(page_bytes) == Some(n_bytes) {
            return Ok(());
        }
        let reason = format!("{n_pages} pages of {page_bytes} bytes, but {n_bytes} bytes are to be copied");
        Err(ExecError::InvalidBatch { reason })
    }

    /// The first output of an op, `[rows, width]`.
    fn values(&mut self, op: usize) -> Vec<f32> {
        let width = self.plan.buffer(self.plan.ops[op].writes()[0].buffer).width;
        let regions = self.program.outputs[op];
        let extents = self.tables.shares().extents;
        if let Some(region) = regions.f32 {
            let rows = self.memory.arena.region_mut(region, extents).chunks_exact(region.stride());
            return rows.flat_map(|row| row[..width].iter().copied()).collect();
        }
        let blocks = regions.int8.map(|region| self.memory.arena.region_mut(region, extents));
        blocks.into_iter().flatten().flat_map(|block| block.decode()).collect()
    }
}

/// The rows of a tile of products.
struct RowGroup;

impl IsaVisitor for RowGroup {
    type Output = usize;

    fn visit<I: Isa>(self, _isa: I) -> usize {
        I::TILE_ROWS
    }
}

/// Runs phases, compiled for an instruction set.
struct Run<'a> {
    step: &'a StepContext<'a>,
    phases: &'a [Phase],
    team: &'a mut Team,
    workers: &'a mut [WorkerState],
    memory: &'a mut StepMemory,
}

impl IsaVisitor for Run<'_> {
    type Output = Result<Duration, WorkerPanic>;

    fn visit<I: Isa>(self, isa: I) -> Self::Output {
        let Self { step, phases, team, workers, memory } = self;
        memory.run(team, workers, &step.tables.shares(), phases, |phase, parts, worker| {
            worker.timed(|workspace| parts.for_each(|access| phase.run(isa, step, &access, workspace)));
        })
    }
}

impl From<WorkerPanic> for ExecError {
    fn from(panic: WorkerPanic) -> Self {
        Self::WorkerPanicked { message: panic.message }
    }
}

impl Executor for CpuExecutor {
    fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        if self.submitted.is_some() {
            return Err(ExecError::OutOfTurn);
        }
        self.memory.arena.prepare_logits()?;
        // A profile is that of the whole team, whose times add up.
        let n_workers = match self.profiler {
            Some(_) => self.team.n_workers(),
            None => self.sizes.choose(batch.tokens.len()),
        };
        self.tables.set(batch, n_workers)?;
        self.outputs.clear();
        self.outputs.extend_from_slice(batch.outputs);
        if let Some(profiler) = &mut self.profiler {
            profiler.begin_step(&mut self.workers);
        }
        let computed = self.compute(batch);
        if let Some(profiler) = &mut self.profiler {
            profiler.end_step(&self.plan, batch, self.limits.kv_dtype, &mut self.workers);
        }
        self.submitted = Some(computed.and_then(|()| Ok(self.select()?)));
        Ok(())
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        self.submitted.take().unwrap_or(Err(ExecError::OutOfTurn))?;
        self.give_outputs(output);
        Ok(())
    }

    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        self.check_pages(from_to.iter().flat_map(|&(from, to)| [from, to]))?;
        from_to.iter().for_each(|&(from, to)| self.memory.kv.copy_page(from, to));
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        self.memory.kv.page_bytes()
    }

    fn read_pages(&mut self, pages: &[PageId], bytes: &mut [u8]) -> Result<(), ExecError> {
        self.check_copy(pages, bytes.len())?;
        let each = bytes.chunks_exact_mut(self.page_bytes().max(1));
        pages.iter().zip(each).for_each(|(page, bytes)| self.memory.kv.read_page(*page, bytes));
        Ok(())
    }

    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError> {
        self.check_copy(pages, bytes.len())?;
        let each = bytes.chunks_exact(self.page_bytes().max(1));
        pages.iter().zip(each).for_each(|(page, bytes)| self.memory.kv.write_page(*page, bytes));
        Ok(())
    }

    fn release_pages(&mut self, pages: &[PageId]) -> Result<(), ExecError> {
        self.check_pages(pages.iter().copied())?;
        self.memory.kv.release_pages(pages);
        Ok(())
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        if self.submitted.is_some() {
            return Err(ExecError::OutOfTurn);
        }
        self.memory.arena.prepare_logits()?;
        self.tables.set(batch, self.team.n_workers())?;
        for index in 0..self.plan.ops.len() {
            let start = self.program.phases.partition_point(|phase| phase.op < index);
            let end = self.program.phases.partition_point(|phase| phase.op <= index);
            self.run_phases(batch, start..end)?;
            visit(index, &self.values(index));
        }
        Ok(())
    }

    fn start_profile(&mut self) {
        self.profiler = Some(Profiler::start(&self.plan, &self.program.phases, &mut self.workers));
    }

    fn finish_profile(&mut self) -> Option<Profile> {
        let profiler = self.profiler.take()?;
        let speed = speed::measure(&mut self.team, self.isa, &self.weights);
        Some(profiler.finish(&self.plan, &self.program.phases, &mut self.workers, speed))
    }
}
