//! The backend and its executor.

#[cfg(test)]
mod tests;

use std::time::Instant;

use sm_tensor::PageId;

use super::arena::{Arena, StepMemory};
use super::kv_pool::KvPool;
use super::profiler::{Local, Profiler};
use super::program::{Phase, Program};
use super::speed;
use super::step::{StepContext, StepRules, StepTables};
use super::team::{Team, WorkerPanic};
use super::topology::{MAX_THREADS, available_bytes, default_threads};
use super::weights::Weights;
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor};
use crate::cpu::ops::product::ProductWorkspace;
use crate::plan::{
    Backend, ExecError, Executor, ExecutorInfo, Limits, Logits, MemoryNeeds, Op, Plan, PrepareError, Profile,
    Progress, StepBatch, WeightSource,
};

/// Rows of a step at most: tables of this length are allocated at once.
const MAX_TOKENS: usize = 1 << 20;

/// Runs plans on the processor.
///
/// ```
/// use sm_kernels::{CpuBackend, IsaKind};
///
/// let backend = CpuBackend::new().threads(2).isa(IsaKind::Scalar);
/// # let _ = backend;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuBackend {
    n_threads: Option<usize>,
    isa: Option<IsaKind>,
}

impl CpuBackend {
    /// As many threads as the processor has cores, and its fastest instruction set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of threads, the calling one included.
    #[must_use]
    pub fn threads(self, n_threads: usize) -> Self {
        Self { n_threads: Some(n_threads), ..self }
    }

    /// Sets the instruction set.
    #[must_use]
    pub fn isa(self, isa: IsaKind) -> Self {
        Self { isa: Some(isa), ..self }
    }

    fn n_threads(&self) -> usize {
        self.n_threads.unwrap_or_else(default_threads)
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn memory_needs(&self, plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError> {
        plan.validate()?;
        let n_workers = self.n_threads();
        check_limits(limits, n_workers)?;
        let (weight_bytes, max_cols) = Weights::needs(plan)?;
        let arena_bytes = Arena::needed_bytes(Program::bind(plan, limits, n_workers)?.arena_bytes);
        Ok(MemoryNeeds {
            weight_bytes,
            kv_bytes: KvPool::needed_bytes(plan.kv, limits.n_pages, limits.kv_dtype)?,
            activation_bytes: arena_bytes.saturating_add(n_workers * ProductWorkspace::n_bytes(max_cols)),
        })
    }

    fn available_bytes(&self) -> Option<u64> {
        available_bytes()
    }

    fn prepare(
        &self,
        plan: &Plan,
        weights: &dyn WeightSource,
        limits: Limits,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Box<dyn Executor>, PrepareError> {
        plan.validate()?;
        let n_threads = self.n_threads();
        let isa = self.isa.unwrap_or_else(IsaKind::best);
        if !isa.is_available() {
            let available: Vec<_> = IsaKind::available().map(IsaKind::name).collect();
            let reason = format!("this processor has no {isa}; it has {}", available.join(", "));
            return Err(PrepareError::Unsupported(reason));
        }
        check_limits(&limits, n_threads)?;
        let no_threads =
            |error| PrepareError::Unsupported(format!("cannot start {n_threads} threads: {error}"));
        let mut team = Team::new(n_threads).map_err(no_threads)?;
        let weights = Weights::load(plan, weights, &mut team, progress)?;
        Ok(Box::new(CpuExecutor::new(plan, weights, (team, isa), limits)?))
    }
}

fn check_limits(limits: &Limits, n_threads: usize) -> Result<(), PrepareError> {
    let at_most_tokens = "must be at least 1 and at most max_tokens";
    let bounds = [
        ("n_threads", n_threads, MAX_THREADS, "must be from 1 to 64"),
        ("max_tokens", limits.max_tokens, MAX_TOKENS, "must be from 1 to 1048576"),
        ("max_outputs", limits.max_outputs, limits.max_tokens, at_most_tokens),
        ("max_sequences", limits.max_sequences, limits.max_tokens, at_most_tokens),
        ("n_pages", limits.n_pages, u32::MAX as usize, "must be at least 1 and fit 32 bits"),
    ];
    let broken = bounds.into_iter().find(|&(_, value, most, _)| value == 0 || most < value);
    broken.map_or(Ok(()), |(name, value, _, reason)| Err(PrepareError::InvalidLimit { name, value, reason }))
}

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
    weights: Weights,
    program: Program,
    tables: StepTables,
    memory: StepMemory,
    profiler: Option<Profiler>,
    /// The result of a step that was not waited for.
    submitted: Option<Result<(), WorkerPanic>>,
}

/// Token ids that every table has.
fn n_token_ids(plan: &Plan) -> usize {
    let rows = plan.ops.iter().filter_map(|op| match op {
        Op::Embed { table, .. } => Some(plan.matrix(*table).rows()),
        _ => None,
    });
    rows.min().unwrap_or(usize::MAX)
}

impl CpuExecutor {
    fn new(
        plan: &Plan,
        weights: Weights,
        (team, isa): (Team, IsaKind),
        limits: Limits,
    ) -> Result<Self, PrepareError> {
        let n_workers = team.n_workers();
        let program = Program::bind(plan, &limits, n_workers)?;
        let kv = KvPool::new(plan.kv, limits.n_pages, limits.kv_dtype)?;
        let arena = Arena::new(program.limits, program.arena_bytes)?;
        let rules = StepRules {
            limits,
            context_len: plan.context_len,
            n_token_ids: n_token_ids(plan),
            n_kv_heads: plan.kv.n_kv_heads,
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
            memory: StepMemory::new(arena, kv, n_workers),
            profiler: None,
            submitted: None,
        })
    }

    /// Runs some phases of the step that the tables describe.
    fn run(&mut self, batch: &StepBatch<'_>, phases: std::ops::Range<usize>) -> Result<(), WorkerPanic> {
        let step = StepContext { batch, tables: &self.tables, weights: &self.weights };
        self.isa.dispatch(Run {
            step: &step,
            phases: &self.program.phases[phases],
            team: &mut self.team,
            locals: &mut self.locals,
            memory: &mut self.memory,
        })
    }

    /// Whether a page can be copied from or to `n_bytes` bytes.
    fn check_page(&self, page: PageId, n_bytes: usize) -> Result<(), ExecError> {
        let (n_pages, page_bytes) = (self.memory.kv.n_pages(), self.memory.kv.page_bytes());
        if n_pages <= page.0 as usize {
            let reason = format!("page {} is copied, but the pool has {n_pages}", page.0);
            return Err(ExecError::InvalidBatch { reason });
        }
        if n_bytes != page_bytes {
            let reason = format!("a page has {page_bytes} bytes, but {n_bytes} are to be copied");
            return Err(ExecError::InvalidBatch { reason });
        }
        Ok(())
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
    memory: &'a mut StepMemory,
}

impl IsaVisitor for Run<'_> {
    type Output = Result<(), WorkerPanic>;

    fn visit<I: Isa>(self, isa: I) -> Self::Output {
        let Self { step, phases, team, locals, memory } = self;
        memory.run(team, locals, &step.tables.shares(), phases, |phase, parts, local| {
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
        let began = self.profiler.is_some().then(Instant::now);
        self.tables.set(batch)?;
        if began.is_some() {
            Profiler::begin_step(&mut self.locals);
        }
        self.submitted = Some(self.run(batch, 0..self.program.phases.len()));
        if let (Some(began), Some(profiler)) = (began, &mut self.profiler) {
            profiler.end_step(began, (&self.plan, batch, self.limits.kv_dtype), &mut self.locals);
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<Logits<'_>, ExecError> {
        self.submitted.take().ok_or(ExecError::NotSubmitted)??;
        let region = self.program.logits;
        let values = self.memory.arena.region_mut(region, self.tables.shares().extents);
        Ok(Logits::new(values, region.stride(), self.plan.vocab_size()))
    }

    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        for page in from_to.iter().flat_map(|(from, to)| [from, to]) {
            self.check_page(*page, self.page_bytes())?;
        }
        from_to.iter().for_each(|&(from, to)| self.memory.kv.copy_page(from, to));
        Ok(())
    }

    fn page_bytes(&self) -> usize {
        self.memory.kv.page_bytes()
    }

    fn read_page(&mut self, page: PageId, bytes: &mut [u8]) -> Result<(), ExecError> {
        self.check_page(page, bytes.len())?;
        self.memory.kv.read_page(page, bytes);
        Ok(())
    }

    fn release_pages(&mut self, pages: &[PageId]) -> Result<(), ExecError> {
        for page in pages {
            self.check_page(*page, self.page_bytes())?;
        }
        self.memory.kv.release_pages(pages);
        Ok(())
    }

    fn write_page(&mut self, page: PageId, bytes: &[u8]) -> Result<(), ExecError> {
        self.check_page(page, bytes.len())?;
        self.memory.kv.write_page(page, bytes);
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
        self.tables.set(batch)?;
        for index in 0..self.plan.ops.len() {
            let start = self.program.phases.partition_point(|phase| phase.op < index);
            let end = self.program.phases.partition_point(|phase| phase.op <= index);
            self.run(batch, start..end)?;
            visit(index, &self.values(self.plan.ops[index].output()));
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
