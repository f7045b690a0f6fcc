//! The threads that execute one program together: fork and join over resident workers.
//!
//! ```text
//! worker 0, the caller   publish ─┬─ body ─┬─ finish ─────────────────────────► publish …
//! worker 1               ─────────┴─ body ─┴─ spins, yields, sleeps after 500 µs ───┴─ …
//! ```
//!
//! A step is one parallel region. Entering one for each op would cost some hundred forks per token, and a rayon
//! broadcast for each step allocates, which a step must not do: the private pool is entered once, and its threads stay
//! in [`ForkJoin::serve`]. Between two calls they wait longer than sampling takes, so that decoding never waits for a
//! thread to wake up.
//!
//! If the cores do not suffice for all teams of a process, say those of a model and its drafter, or of two engines,
//! teams of one size share their threads and take turns: workers wait for each other many times per step, so more
//! threads than cores would cost more than that.
//!
//! A panic in a worker poisons the barrier; the others leave at their next one, the step fails, and the team stays
//! usable.
#![allow(unsafe_code, reason = "a borrowed closure is lent to resident threads for the length of one call")]

#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::barrier::{Barrier, Poisoned, wait_until};
use super::topology::n_cores;

/// Checks for the next call before an idle thread yields its core.
const IDLE_SPINS: u32 = 1 << 10;

/// How long an idle thread waits for the next call before it sleeps: longer than sampling takes between two steps.
const IDLE_TIME: Duration = Duration::from_micros(500);

/// The threads of all teams of the process.
static ALL_THREADS: Mutex<Vec<Weak<Threads>>> = Mutex::new(Vec::new());

type Body<'b> = dyn Fn(&Worker<'_>) -> Result<(), Poisoned> + Sync + 'b;

/// One of the threads that execute a program. Only a [`Team`] makes them.
#[derive(Debug)]
pub(crate) struct Worker<'t> {
    index: usize,
    count: usize,
    barrier: &'t Barrier,
}

impl Worker<'_> {
    /// Index of this worker in the team.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Number of workers in the team.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Waits for all workers of the team.
    ///
    /// # Errors
    /// If a worker panicked.
    pub(crate) fn barrier(&self) -> Result<(), Poisoned> {
        self.barrier.wait()
    }

    /// This worker's share of `0..n`; it begins and, except at `n`, ends at a multiple of `granularity`.
    pub(crate) fn share(&self, n: usize, granularity: usize) -> Range<usize> {
        share_of(self.index, self.count, n, granularity)
    }
}

/// The share of worker `index` of `count` in `0..n`. Shares are disjoint, cover all of it, and begin at multiples of
/// `granularity`.
pub(crate) fn share_of(index: usize, count: usize, n: usize, granularity: usize) -> Range<usize> {
    let n_grains = n.div_ceil(granularity);
    let at = |i: usize| (n_grains * i / count * granularity).min(n);
    at(index)..at(index + 1)
}

/// A worker panicked. The team can be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerPanic {
    /// The panic's message.
    pub(crate) message: String,
}

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
        f.debug_struct("Threads").field("n_workers", &self.fork_join.n_workers).finish_non_exhaustive()
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
        let n_busy = present.iter().map(|threads| threads.fork_join.n_workers).sum::<usize>();
        let same_size = present.into_iter().find(|threads| threads.fork_join.n_workers == n_workers);
        if let Some(threads) = same_size.filter(|_| n_workers > 1 && n_busy + n_workers > n_cores()) {
            return Ok(Self(threads));
        }
        let threads = Arc::new(Threads::start(n_workers)?);
        all.push(Arc::downgrade(&threads));
        Ok(Self(threads))
    }

    /// Number of workers, the calling thread included.
    pub(crate) fn n_workers(&self) -> usize {
        self.0.fork_join.n_workers
    }

    /// Runs `body` on every worker and returns when all have left it. Waits first if another team has the threads.
    ///
    /// # Errors
    /// The first panic of a worker; the others leave at their next barrier.
    pub(crate) fn run<F>(&mut self, body: F) -> Result<(), WorkerPanic>
    where
        F: Fn(&Worker<'_>) -> Result<(), Poisoned> + Sync,
    {
        let body: &Body<'_> = &body;
        // SAFETY: only the lifetime changes. Threads use `body` only between `publish` and their increment of `n_left`,
        // which `finish` waits for below; nothing in between can unwind, because `work` catches panics.
        let lent = unsafe { std::mem::transmute::<&Body<'_>, &'static Body<'static>>(body) };
        let _turn = lock(&self.0.turn);
        let fork_join = &self.0.fork_join;
        fork_join.publish(lent);
        fork_join.work(0, body);
        fork_join.finish()
    }
}

/// What the resident threads are to do next.
struct Mailbox {
    body: Option<&'static Body<'static>>,
    n_sleeping: usize,
    closed: bool,
}

/// What the caller and the resident threads share.
struct ForkJoin {
    n_workers: usize,
    barrier: Barrier,
    mailbox: Mutex<Mailbox>,
    wake: Condvar,
    /// Number of messages so far; changed only while `mailbox` is locked.
    epoch: AtomicUsize,
    /// Resident threads that have left the current body.
    n_left: AtomicUsize,
    first_panic: Mutex<Option<WorkerPanic>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ForkJoin {
    fn new(n_workers: usize) -> Self {
        Self {
            n_workers,
            barrier: Barrier::new(n_workers),
            mailbox: Mutex::new(Mailbox { body: None, n_sleeping: 0, closed: false }),
            wake: Condvar::new(),
            epoch: AtomicUsize::new(0),
            n_left: AtomicUsize::new(0),
            first_panic: Mutex::new(None),
        }
    }

    fn publish(&self, body: &'static Body<'static>) {
        self.n_left.store(0, Ordering::Relaxed);
        self.send(|mailbox| mailbox.body = Some(body));
    }

    fn close(&self) {
        self.send(|mailbox| mailbox.closed = true);
    }

    fn send(&self, change: impl FnOnce(&mut Mailbox)) {
        let mut mailbox = lock(&self.mailbox);
        change(&mut mailbox);
        self.epoch.fetch_add(1, Ordering::Release);
        if 0 < mailbox.n_sleeping {
            self.wake.notify_all();
        }
    }

    fn work(&self, index: usize, body: &Body<'_>) {
        let worker = Worker { index, count: self.n_workers, barrier: &self.barrier };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
            // A poisoned barrier only means that this worker leaves early; the one that panicked reports it.
            let _ = body(&worker);
        })) {
            lock(&self.first_panic)
                .get_or_insert_with(|| WorkerPanic { message: message_of(payload.as_ref()) });
            self.barrier.poison();
        }
    }

    fn finish(&self) -> Result<(), WorkerPanic> {
        wait_until(|| self.n_left.load(Ordering::Acquire) == self.n_workers - 1);
        match lock(&self.first_panic).take() {
            None => Ok(()),
            Some(panic) => {
                self.barrier.reset();
                Err(panic)
            }
        }
    }

    /// Runs a resident thread until the threads are closed.
    fn serve(&self, index: usize) {
        let mut epoch = 0;
        while let Some(body) = self.next_body(&mut epoch) {
            self.work(index, body);
            self.n_left.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn next_body(&self, epoch: &mut usize) -> Option<&'static Body<'static>> {
        let is_idle = || self.epoch.load(Ordering::Acquire) == *epoch;
        let mut spins = 0;
        while is_idle() && spins < IDLE_SPINS {
            spins += 1;
            std::hint::spin_loop();
        }
        let since = Instant::now();
        while is_idle() && since.elapsed() < IDLE_TIME {
            std::thread::yield_now();
        }
        let mut mailbox = lock(&self.mailbox);
        while self.epoch.load(Ordering::Acquire) == *epoch {
            mailbox.n_sleeping += 1;
            mailbox = self.wake.wait(mailbox).unwrap_or_else(PoisonError::into_inner);
            mailbox.n_sleeping -= 1;
        }
        *epoch = epoch.wrapping_add(1);
        if mailbox.closed { None } else { mailbox.body }
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
