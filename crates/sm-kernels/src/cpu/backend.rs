//! The backend: packs weights, and prepares executors that share them.

use std::any::Any;
use std::sync::Arc;

use super::arena::Arena;
use super::executor::CpuExecutor;
use super::kv_pool::KvPool;
use super::program::Program;
use super::team::Team;
use super::team_size::TeamSize;
use super::topology::{MAX_THREADS, available_bytes, default_threads, n_processors};
use super::weights::PackedWeights;
use crate::cpu::isa::IsaKind;
use crate::cpu::ops::product::ProductWorkspace;
use crate::plan::{
    Backend, Executor, Limits, MemoryNeeds, PageGroup, Plan, PrepareError, Progress, WeightSource, Weights,
};

/// The most rows of a step: tables of this length are allocated at once.
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
    threads: Threads,
    isa: Option<IsaKind>,
}

/// How many threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Threads {
    /// One per physical core.
    #[default]
    PerCore,
    /// Not more than the process has processors.
    AtMost(usize),
    /// This many, in every step.
    Exactly(usize),
}

impl CpuBackend {
    /// A thread per physical core that this process may use, and the processor's fastest instruction set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of threads, the calling one included. The backend starts no more than the process has processors,
    /// and steps use fewer whenever that is faster: for little work, and while other processes keep cores busy. The number
    /// never changes a result.
    #[must_use]
    pub fn threads(self, n_threads: usize) -> Self {
        Self { threads: Threads::AtMost(n_threads), ..self }
    }

    /// Sets the number of threads that every step uses, even if there are fewer processors: to measure and to test.
    #[must_use]
    pub fn exact_threads(self, n_threads: usize) -> Self {
        Self { threads: Threads::Exactly(n_threads), ..self }
    }

    /// Sets the instruction set.
    #[must_use]
    pub fn isa(self, isa: IsaKind) -> Self {
        Self { isa: Some(isa), ..self }
    }

    fn n_threads(&self) -> Result<usize, PrepareError> {
        match self.threads {
            Threads::PerCore => Ok(default_threads()),
            Threads::AtMost(n_threads) => check_threads(n_threads).map(|()| n_threads.min(n_processors())),
            Threads::Exactly(n_threads) => check_threads(n_threads).map(|()| n_threads),
        }
    }

    fn team(&self) -> Result<Team, PrepareError> {
        let n_threads = self.n_threads()?;
        Team::new(n_threads)
            .map_err(|error| PrepareError::Unsupported(format!("cannot start {n_threads} threads: {error}")))
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn memory_needs(&self, plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError> {
        plan.validate()?;
        let n_workers = self.n_threads()?;
        check_limits(limits)?;
        check_cache(plan)?;
        let (weight_bytes, max_cols) = PackedWeights::needs(plan)?;
        let program = Program::bind(plan, limits, n_workers)?;
        let arena_bytes = Arena::needed_bytes(program.logits_bytes, program.arena_bytes);
        Ok(MemoryNeeds {
            weight_bytes,
            kv_bytes: KvPool::needed_bytes(&plan.cache, limits.n_pages, limits.kv_dtype)?,
            activation_bytes: arena_bytes.saturating_add(n_workers * ProductWorkspace::n_bytes(max_cols)),
        })
    }

    fn available_bytes(&self) -> Option<u64> {
        available_bytes()
    }

    fn load(
        &self,
        plan: &Plan,
        source: &dyn WeightSource,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<dyn Weights>, PrepareError> {
        plan.validate()?;
        Ok(Arc::new(PackedWeights::load(plan, source, &mut self.team()?, progress)?))
    }

    fn prepare_loaded(
        &self,
        plan: &Plan,
        weights: &Arc<dyn Weights>,
        limits: Limits,
    ) -> Result<Box<dyn Executor>, PrepareError> {
        plan.validate()?;
        let isa = self.isa.unwrap_or_else(IsaKind::best);
        if !isa.is_available() {
            let available: Vec<_> = IsaKind::available().map(IsaKind::name).collect();
            let reason = format!("this processor has no {isa}; it has {}", available.join(", "));
            return Err(PrepareError::Unsupported(reason));
        }
        check_limits(&limits)?;
        check_cache(plan)?;
        let packed = (Arc::clone(weights) as Arc<dyn Any + Send + Sync>).downcast::<PackedWeights>();
        let packed = packed
            .map_err(|_| PrepareError::OtherWeights { reason: "another backend packed them".to_owned() })?;
        packed.check(plan)?;
        let team = self.team()?;
        let sizes = match self.threads {
            Threads::Exactly(n_threads) => TeamSize::fixed(n_threads),
            Threads::PerCore | Threads::AtMost(_) => TeamSize::new(team.n_workers()),
        };
        Ok(Box::new(CpuExecutor::new(plan, packed, team, sizes, isa, limits)?))
    }
}

/// Refuses what a sequence of the plan leaves behind, if this backend cannot keep it.
fn check_cache(plan: &Plan) -> Result<(), PrepareError> {
    if let Some(state) = plan.cache.states.first() {
        return Err(PrepareError::Unsupported(format!(
            "the CPU backend has no recurrent states yet, and the plan has {:?}",
            state.name
        )));
    }
    let Some(group) = plan.cache.pages.iter().find(|group| group.key_dim != group.value_dim) else {
        return Ok(());
    };
    let PageGroup { key_dim, value_dim, .. } = group;
    Err(PrepareError::Unsupported(format!(
        "the CPU backend needs keys and values of one width, and the plan has {key_dim} and {value_dim}"
    )))
}

/// A limit, its value, the most that it may be, and how an error says so.
type Bound = (&'static str, usize, usize, &'static str);

fn check_bounds(bounds: &[Bound]) -> Result<(), PrepareError> {
    let broken = bounds.iter().find(|&&(_, value, most, _)| value == 0 || most < value);
    broken.map_or(Ok(()), |&(name, value, _, reason)| Err(PrepareError::InvalidLimit { name, value, reason }))
}

fn check_threads(n_threads: usize) -> Result<(), PrepareError> {
    check_bounds(&[("n_threads", n_threads, MAX_THREADS, "must be from 1 to 64")])
}

fn check_limits(limits: &Limits) -> Result<(), PrepareError> {
    let at_most_tokens = "must be at least 1 and at most max_tokens";
    check_bounds(&[
        ("max_tokens", limits.max_tokens, MAX_TOKENS, "must be from 1 to 1048576"),
        ("max_outputs", limits.max_outputs, limits.max_tokens, at_most_tokens),
        ("max_sequences", limits.max_sequences, limits.max_tokens, at_most_tokens),
        ("n_pages", limits.n_pages, u32::MAX as usize, "must be at least 1 and fit 32 bits"),
    ])
}
