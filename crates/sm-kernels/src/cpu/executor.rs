//! The executor: runs a program step by step on a team of workers.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use sm_tensor::PageId;

use super::arena::{Arena, Memory, Region};
use super::kv_pool::KvPool;
use super::profiler::{Local, Profiler};
use super::program::{Phase, Program};
use super::speed;
use super::step::{StepContext, StepRules, StepTables};
use super::team::{Team, WorkerPanic};
use super::weights::PackedWeights;
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor};
use crate::cpu::ops::product::ProductWorkspace;
use crate::plan::{
    ExecError, Executor, ExecutorInfo, Limits, Op, OutputRow, PageGroup, Plan, PrepareError, Profile,
    StepBatch, StepOutput, Wanted, Weights,
};

/// A plan made ready to run on a team.
#[derive(Debug)]
pub(crate) struct CpuExecutor {
    info: ExecutorInfo,
    limits: Limits,
    plan: Plan,
    isa: IsaKind,
    team: Team,
    /// One for each worker.
    locals: Vec<Local>,
    weights: Arc<PackedWeights>,
    program: Program,
    tables: StepTables,
    memory: Memory,
    profiler: Option<Profiler>,
    /// The result of a step that was not waited for.
    submitted: Option<Result<(), WorkerPanic>>,
    /// Its outputs.
    outputs: Vec<OutputRow>,
}

/// Token ids that every table has.
fn n_token_ids(plan: &Plan) -> usize {
    let rows = plan.ops.iter().filter_map(|op| match op {
        Op::Embed(embed) => Some(plan.matrix(embed.table).rows()),
        _ => None,
    });
    rows.min().unwrap_or(usize::MAX)
}

impl CpuExecutor {
    pub(crate) fn new(
        plan: &Plan,
        weights: Arc<PackedWeights>,
        team: Team,
        isa: IsaKind,
        pages: PageGroup,
        limits: Limits,
    ) -> Result<Self, PrepareError> {
        let n_workers = team.n_workers();
        let program = Program::bind(plan, &limits, n_workers)?;
        let kv = KvPool::new(pages, limits.n_pages, limits.kv_dtype)?;
        let arena = Arena::new(program.limits, program.logits_bytes, program.arena_bytes)?;
        let rules = StepRules {
            limits,
            context_len: plan.context_len,
            n_token_ids: n_token_ids(plan),
            has_logits: plan.logits.is_some(),
            has_hidden: plan.hidden.is_some(),
            n_kv_heads: pages.n_kv_heads,
            n_workers,
        };
        let scratch_bytes = n_workers * ProductWorkspace::n_bytes(weights.max_cols());
        let info = ExecutorInfo {
            kernels: format!("cpu {isa}"),
            n_workers,
            row_group: isa.dispatch(RowGroup),
            weight_bytes: weights.n_bytes(),
            kv_bytes: kv.n_bytes(),
            activation_bytes: arena.n_bytes() + scratch_bytes,
        };
        Ok(Self {
            info,
            limits,
            plan: plan.clone(),
            isa,
            locals: (0..n_workers).map(|_| Local::new(ProductWorkspace::new(weights.max_cols()))).collect(),
            team,
            weights,
            tables: StepTables::new(rules, &program.shapes),
            program,
            memory: Memory::new(arena, kv, n_workers),
            profiler: None,
            submitted: None,
            outputs: Vec::with_capacity(limits.max_outputs),
        })
    }

    /// Runs some phases of the step that the tables describe.
    fn run_phases(
        &mut self,
        batch: &StepBatch<'_>,
        phases: std::ops::Range<usize>,
    ) -> Result<(), WorkerPanic> {
        let step = StepContext { batch, tables: &self.tables, weights: &self.weights };
        self.isa.dispatch(Run {
            step: &step,
            phases: &self.program.phases[phases],
            team: &mut self.team,
            locals: &mut self.locals,
            memory: &mut self.memory,
        })
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
        let (n_pages, page_bytes) = (pages.len(), self.page_bytes());
        if n_pages.checked_mul(page_bytes) == Some(n_bytes) {
            return Ok(());
        }
        let reason = format!("{n_pages} pages of {page_bytes} bytes, but {n_bytes} bytes are to be copied");
        Err(ExecError::InvalidBatch { reason })
    }

    /// Hands over the logits of the step, or selects from them what is wanted.
    fn give_outputs(&mut self, output: &mut StepOutput) {
        let (extents, vocab_size) = (self.tables.shares().extents, self.plan.vocab_size());
        let stride = self.program.logits.map_or(0, Region::stride);
        for (index, wanted) in self.outputs.iter().map(|output| output.wanted).enumerate() {
            let (region, width) = match wanted {
                Wanted::Logits => {
                    output.push_row(index * stride..index * stride + vocab_size);
                    continue;
                }
                Wanted::ArgMax | Wanted::TopK(_) => (self.program.logits, vocab_size),
                Wanted::Hidden => (self.program.hidden, self.plan.hidden_size()),
            };
            let region = region.expect("the batch was checked");
            let values = &self.memory.arena.region_mut(region, extents)[index * region.stride()..][..width];
            if wanted == Wanted::Hidden {
                output.push_hidden(values);
            } else {
                output.push_logits(wanted, values);
            }
        }
        self.memory.arena.hand_over_logits(output);
    }

    /// The values of a buffer, `[rows, width]`.
    fn values(&mut self, buffer: crate::plan::BufferId) -> Vec<f32> {
        let (width, regions) = (self.plan.buffer(buffer).width, self.program.buffers[buffer.index()]);
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
    locals: &'a mut [Local],
    memory: &'a mut Memory,
}

impl IsaVisitor for Run<'_> {
    type Output = Result<(), WorkerPanic>;

    fn visit<I: Isa>(self, isa: I) -> Self::Output {
        let Self { step, phases, team, locals, memory } = self;
        memory.run((team, locals), &step.tables.shares(), phases, |phase, parts, local| {
            local.timed(|scratch| parts.for_each(|access| phase.run(isa, step, &access, scratch)));
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

    /// Computes the step: the calling thread is one of the workers.
    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        if self.submitted.is_some() {
            return Err(ExecError::NotSubmitted);
        }
        self.memory.arena.prepare_logits()?;
        let began = self.profiler.is_some().then(Instant::now);
        self.tables.set(batch)?;
        if began.is_some() {
            Profiler::begin_step(&mut self.locals);
        }
        self.outputs.clear();
        self.outputs.extend_from_slice(batch.outputs);
        self.submitted = Some(self.run_phases(batch, 0..self.program.phases.len()));
        if let (Some(began), Some(profiler)) = (began, &mut self.profiler) {
            profiler.end_step(began, (&self.plan, batch, self.limits.kv_dtype), &mut self.locals);
        }
        Ok(())
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        self.submitted.take().ok_or(ExecError::NotSubmitted)??;
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
            return Err(ExecError::NotSubmitted);
        }
        self.memory.arena.prepare_logits()?;
        self.tables.set(batch)?;
        for index in 0..self.plan.ops.len() {
            let start = self.program.phases.partition_point(|phase| phase.op < index);
            let end = self.program.phases.partition_point(|phase| phase.op <= index);
            self.run_phases(batch, start..end)?;
            let buffer = self.plan.ops[index].writes()[0].buffer;
            visit(index, &self.values(buffer));
        }
        Ok(())
    }

    fn start_profile(&mut self) {
        self.profiler = Some(Profiler::start(&self.plan, &self.program.phases, &mut self.locals));
    }

    fn finish_profile(&mut self) -> Option<Profile> {
        let profiler = self.profiler.take()?;
        let speed = speed::measure(&mut self.team, self.isa, &self.weights);
        Some(profiler.finish(&self.plan, &self.program.phases, (&mut self.locals, speed)))
    }
}
