//! The threads that execute one program together: fork and join over resident workers.
//!
//! ```text
//! worker 0, the caller   publish ─┬─ body ─┬─ finish ─────────────────► publish …
//! worker 1               ─────────┴─ body ─┴─ spins, then sleeps ────────┴─ body …
//! worker 2                                    sleeps on, if the next call has two workers
//! ```
//!
//! A step is one parallel region. Entering one for each op would cost some hundred forks per token, and a rayon
//! broadcast for each step allocates, which a step must not do: the private pool is entered once, and its threads stay
//! in [`ForkJoin::serve`]. Between two calls they spin for longer than sampling takes, so that decoding never waits for
//! a thread to wake up, unless calls have become rare.
//!
//! Each call says how many workers take part; `team_size.rs` chooses. The others are not even woken.
//!
//! If the cores do not suffice for all teams of a process, say those of a model and its drafter, or of two engines,
//! teams of one size share their threads and take turns: workers wait for each other many times per step, so more
//! threads than cores would cost more than that.
//!
//! A panic in a worker poisons the barrier; the others leave at their next one, the step fails, and the team stays
//! usable.

#[cfg(test)]
mod tests;

mod fork_join;
mod worker;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::barrier::Poisoned;
use super::sync::lock;
use super::topology::n_processors;
use fork_join::ForkJoin;
pub(crate) use fork_join::WorkerPanic;
pub(crate) use worker::{Part, Worker, share_of};

/// The threads of all teams of the process.
static ALL_THREADS: Mutex<Vec<Weak<Threads>>> = Mutex::new(Vec::new());

/// Resident threads, and the calling thread as worker 0.
#[derive(Debug)]
pub(crate) struct Team(Arc<Threads>);

/// The resident threads of one team, or of several teams of one size.
struct Threads {
    /// Held by the team whose program runs.
    turn: Mutex<()>,
    fork_join: Arc<ForkJoin>,
    /// None for a team of one. Dropping it does not wait for the threads, which leave by themselves.
    _pool: Option<ThreadPool>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("n_workers", &self.fork_join.n_workers()).finish_non_exhaustive()
    }
}

impl Threads {
    /// Starts `n_workers - 1` threads.
    fn start(n_workers: usize) -> Result<Self, ThreadPoolBuildError> {
        let turn = Mutex::new(());
        let fork_join = Arc::new(ForkJoin::new(n_workers));
        if n_workers == 1 {
            return Ok(Self { turn, fork_join, _pool: None });
        }
        let named = ThreadPoolBuilder::new().thread_name(|index| format!("sm-worker-{}", index + 1));
        let pool = named.num_threads(n_workers - 1).build()?;
        let resident = Arc::clone(&fork_join);
        pool.spawn_broadcast(move |thread| resident.serve(thread.index() + 1));
        Ok(Self { turn, fork_join, _pool: Some(pool) })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.fork_join.close();
    }
}

impl Team {
    /// A team of `n_workers`. It shares the threads of another team of this size if no cores are left for more.
    ///
    /// # Errors
    /// If the system refuses a thread.
    ///
    /// # Panics
    /// If `n_workers` is zero.
    pub(crate) fn new(n_workers: usize) -> Result<Self, ThreadPoolBuildError> {
        assert!(0 < n_workers, "a team needs a worker");
        let mut all = lock(&ALL_THREADS);
        all.retain(|threads| threads.strong_count() > 0);
        let present: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        let n_busy = present.iter().map(|threads| threads.fork_join.n_workers()).sum::<usize>();
        let same_size = present.into_iter().find(|threads| threads.fork_join.n_workers() == n_workers);
        if let Some(threads) = same_size.filter(|_| n_workers > 1 && n_busy + n_workers > n_processors()) {
            return Ok(Self(threads));
        }
        let threads = Arc::new(Threads::start(n_workers)?);
        all.push(Arc::downgrade(&threads));
        Ok(Self(threads))
    }

    /// Number of workers, the calling thread included.
    pub(crate) fn n_workers(&self) -> usize {
        self.0.fork_join.n_workers()
    }

    /// Runs `body` on every worker and returns when all have left it. Waits first if another team has the threads.
    ///
    /// # Errors
    /// The first panic of a worker; the others leave at their next barrier.
    pub(crate) fn run<F>(&mut self, body: F) -> Result<(), WorkerPanic>
    where
        F: Fn(&Worker<'_>) -> Result<(), Poisoned> + Sync,
    {
        self.run_on(self.n_workers(), body).map(|_| ())
    }

    /// The same on the first `n_workers`. Returns the longest time that one of them has waited at barriers.
    ///
    /// # Errors
    /// As [`Team::run`].
    ///
    /// # Panics
    /// If the team has fewer workers, or none are to run.
    pub(crate) fn run_on<F>(&mut self, n_workers: usize, body: F) -> Result<Duration, WorkerPanic>
    where
        F: Fn(&Worker<'_>) -> Result<(), Poisoned> + Sync,
    {
        assert!((1..=self.n_workers()).contains(&n_workers), "{n_workers} of {} workers", self.n_workers());
        let _turn = lock(&self.0.turn);
        self.0.fork_join.run(n_workers, &body)
    }
}
