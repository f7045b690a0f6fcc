//! The threads that execute one program together.
//!
//! They belong to a private pool and are resident: one broadcast starts them, and between two calls they wait a bounded
//! time for the next, then sleep. A broadcast for each call would allocate, and a step must not.
//!
//! Where there are not cores enough for all teams of a process, say those of a model and its drafter, or of two engines,
//! teams of one size have the same threads and take turns: workers wait for each other many times in a step, so threads
//! that outnumber the cores would cost more than that.
#![allow(unsafe_code, reason = "a borrowed closure is lent to resident threads for the length of one call")]

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

/// Checks for the next call before an idle thread offers its core to others.
const IDLE_SPINS: u32 = 1 << 10;

/// How long an idle thread waits for the next call before it sleeps: longer than sampling takes between two steps.
const IDLE_TIME: Duration = Duration::from_micros(500);

/// The threads that there are, by their number.
static CREWS: Mutex<Vec<Weak<Crew>>> = Mutex::new(Vec::new());

type Body<'b> = dyn Fn(&Worker<'_>) -> Result<(), Poisoned> + Sync + 'b;

/// One of the threads executing the same program. Only a [`Team`] makes them.
#[derive(Debug)]
pub(crate) struct Worker<'t> {
    index: usize,
    count: usize,
    barrier: &'t Barrier,
}

impl Worker<'_> {
    /// Which of the workers this is.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Number of workers in the team.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Waits for all workers of the team.
    pub(crate) fn barrier(&self) -> Result<(), Poisoned> {
        self.barrier.wait()
    }

    /// This worker's share of `0..n`, in multiples of `unit` (but for the end).
    pub(crate) fn share(&self, n: usize, unit: usize) -> Range<usize> {
        share_of(self.index, self.count, n, unit)
    }
}

/// The share of worker `index` of `count` in `0..n`, in multiples of `unit`: the shares cover all of it once.
pub(crate) fn share_of(index: usize, count: usize, n: usize, unit: usize) -> Range<usize> {
    let n_units = n.div_ceil(unit);
    let at = |i: usize| (n_units * i / count * unit).min(n);
    at(index)..at(index + 1)
}

/// A worker panicked; the team is usable again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerPanic {
    /// The panic's message.
    pub(crate) message: String,
}

/// Resident threads and the calling thread, which is worker 0.
#[derive(Debug)]
pub(crate) struct Team(Arc<Crew>);

/// The resident threads of teams of one size.
struct Crew {
    /// Held while a program runs.
    turn: Mutex<()>,
    shared: Arc<Shared>,
    /// None for a team of one. Dropping it does not wait for the threads: they leave by themselves.
    _pool: Option<ThreadPool>,
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("n_workers", &self.shared.n_workers).finish_non_exhaustive()
    }
}

impl Crew {
    /// Starts `n_workers - 1` threads.
    fn start(n_workers: usize) -> Result<Self, ThreadPoolBuildError> {
        let turn = Mutex::new(());
        let shared = Arc::new(Shared::new(n_workers));
        if n_workers == 1 {
            return Ok(Self { turn, shared, _pool: None });
        }
        let named = ThreadPoolBuilder::new().thread_name(|index| format!("sm-worker-{}", index + 1));
        let pool = named.num_threads(n_workers - 1).build()?;
        let resident = Arc::clone(&shared);
        pool.spawn_broadcast(move |thread| resident.serve(thread.index() + 1));
        Ok(Self { turn, shared, _pool: Some(pool) })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Team {
    /// A team of `n_workers`. It shares the threads of another one of this size if there are no cores left for more.
    ///
    /// # Errors
    /// If the system refuses a thread.
    ///
    /// # Panics
    /// If `n_workers` is zero.
    pub(crate) fn new(n_workers: usize) -> Result<Self, ThreadPoolBuildError> {
        assert!(0 < n_workers, "a team needs a worker");
        let mut crews = lock(&CREWS);
        crews.retain(|crew| crew.strong_count() > 0);
        let present: Vec<_> = crews.iter().filter_map(Weak::upgrade).collect();
        let n_busy = present.iter().map(|crew| crew.shared.n_workers).sum::<usize>();
        let same = present.into_iter().find(|crew| crew.shared.n_workers == n_workers);
        if let Some(crew) = same.filter(|_| n_workers > 1 && n_busy + n_workers > n_cores()) {
            return Ok(Self(crew));
        }
        let crew = Arc::new(Crew::start(n_workers)?);
        crews.push(Arc::downgrade(&crew));
        Ok(Self(crew))
    }

    /// Number of workers, the calling thread included.
    pub(crate) fn n_workers(&self) -> usize {
        self.0.shared.n_workers
    }

    /// The one parallel region of a step: every worker runs `body`; returns when all have left it. While another team has
    /// the threads, it waits.
    ///
    /// # Errors
    /// If a worker panics, the first panic; the others leave at their next barrier.
    pub(crate) fn run<F>(&mut self, body: F) -> Result<(), WorkerPanic>
    where
        F: Fn(&Worker<'_>) -> Result<(), Poisoned> + Sync,
    {
        let body: &Body<'_> = &body;
        // SAFETY: only the lifetime changes. Threads use `body` only between `publish` and their count in `n_left`,
        // for which `finish` waits below; nothing in between can unwind, because `work` catches.
        let lent = unsafe { std::mem::transmute::<&Body<'_>, &'static Body<'static>>(body) };
        let _turn = lock(&self.0.turn);
        let shared = &self.0.shared;
        shared.publish(lent);
        shared.work(0, body);
        shared.finish()
    }
}

/// What the resident threads are asked to do.
struct Call {
    body: Option<&'static Body<'static>>,
    n_sleeping: usize,
    closed: bool,
}

struct Shared {
    n_workers: usize,
    barrier: Barrier,
    call: Mutex<Call>,
    wake: Condvar,
    /// Number of calls so far; changed only while `call` is locked.
    epoch: AtomicUsize,
    /// Resident threads that have left the current body.
    n_left: AtomicUsize,
    first_panic: Mutex<Option<WorkerPanic>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn new(n_workers: usize) -> Self {
        Self {
            n_workers,
            barrier: Barrier::new(n_workers),
            call: Mutex::new(Call { body: None, n_sleeping: 0, closed: false }),
            wake: Condvar::new(),
            epoch: AtomicUsize::new(0),
            n_left: AtomicUsize::new(0),
            first_panic: Mutex::new(None),
        }
    }

    fn publish(&self, body: &'static Body<'static>) {
        self.n_left.store(0, Ordering::Relaxed);
        self.announce(|call| call.body = Some(body));
    }

    fn close(&self) {
        self.announce(|call| call.closed = true);
    }

    fn announce(&self, change: impl FnOnce(&mut Call)) {
        let mut call = lock(&self.call);
        change(&mut call);
        self.epoch.fetch_add(1, Ordering::Release);
        if 0 < call.n_sleeping {
            self.wake.notify_all();
        }
    }

    fn work(&self, index: usize, body: &Body<'_>) {
        let worker = Worker { index, count: self.n_workers, barrier: &self.barrier };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
            // A poisoned barrier only means that this worker leaves early; who panicked reports it.
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

    /// The life of a resident thread.
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
        let mut call = lock(&self.call);
        while self.epoch.load(Ordering::Acquire) == *epoch {
            call.n_sleeping += 1;
            call = self.wake.wait(call).unwrap_or_else(PoisonError::into_inner);
            call.n_sleeping -= 1;
        }
        *epoch = epoch.wrapping_add(1);
        if call.closed { None } else { call.body }
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn barrier_orders_steps() {
        let cells: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let mut team = Team::new(3).unwrap();
        for _ in 0..20 {
            team.run(|worker| {
                for step in 1..50 {
                    cells[worker.index()].store(step, Ordering::Relaxed);
                    worker.barrier()?;
                    assert!(cells.iter().all(|cell| cell.load(Ordering::Relaxed) == step));
                    worker.barrier()?;
                }
                Ok(())
            })
            .unwrap();
        }
    }

    #[test]
    fn a_panic_of_any_worker_frees_the_others_and_leaves_the_team_usable() {
        let mut team = Team::new(3).unwrap();
        for culprit in 0..3 {
            let result = team.run(|worker| {
                worker.barrier()?;
                assert!(worker.index() != culprit, "worker {culprit} fails");
                worker.barrier()
            });
            assert_eq!(result, Err(WorkerPanic { message: format!("worker {culprit} fails") }));
            let n_ran = AtomicUsize::new(0);
            team.run(|worker| {
                n_ran.fetch_add(1, Ordering::Relaxed);
                worker.barrier()
            })
            .unwrap();
            assert_eq!(n_ran.into_inner(), 3);
        }
    }

    #[test]
    fn shares_cover_everything_once() {
        for n in 0..70 {
            for unit in [1, 8, 32] {
                for count in 1..6 {
                    let mut next = 0;
                    for index in 0..count {
                        let share = share_of(index, count, n, unit);
                        assert_eq!(share.start, next);
                        assert!(share.end == n || share.end.is_multiple_of(unit));
                        next = share.end;
                    }
                    assert_eq!(next, n);
                }
            }
        }
    }

    #[test]
    fn teams_with_the_same_threads_take_turns() {
        let crew = Arc::new(Crew::start(5).unwrap());
        let n_inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut team = Team(Arc::clone(&crew));
                    for _ in 0..20 {
                        let n_inside = &n_inside;
                        team.run(|worker| {
                            n_inside.fetch_add(1, Ordering::Relaxed);
                            worker.barrier()?;
                            assert_eq!(n_inside.load(Ordering::Relaxed), 5, "nobody else");
                            worker.barrier()?;
                            n_inside.fetch_sub(1, Ordering::Relaxed);
                            Ok(())
                        })
                        .unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn threads_are_shared_only_where_cores_are_short() {
        let large = n_cores().max(2);
        let teams = [large, large, large + 1, 1, 1].map(|n_workers| Team::new(n_workers).unwrap());
        assert!(Arc::ptr_eq(&teams[0].0, &teams[1].0), "{large} and {large} workers");
        assert!(!Arc::ptr_eq(&teams[0].0, &teams[2].0), "another size");
        assert!(!Arc::ptr_eq(&teams[3].0, &teams[4].0), "nobody to share");
    }

    #[test]
    fn sleeping_threads_wake_for_the_next_call() {
        let mut team = Team::new(2).unwrap();
        for _ in 0..3 {
            wait_until(|| lock(&team.0.shared.call).n_sleeping == 1);
            team.run(|worker| worker.barrier()).unwrap();
        }
    }
}
