//! The threads that execute one program together.
//!
//! They belong to a private pool and are resident: one broadcast starts them, and between two calls they spin a bounded
//! time, then sleep. A broadcast for each call would allocate, and a step must not.
#![allow(unsafe_code, reason = "a borrowed closure is lent to resident threads for the length of one call")]

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::barrier::{Barrier, Poisoned, wait_until};

/// Checks for the next call before an idle thread sleeps: longer than sampling takes between two steps.
const IDLE_SPINS: u32 = 1 << 12;

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

/// Resident threads; the calling thread is worker 0.
pub(crate) struct Team {
    shared: Arc<Shared>,
    /// None for a team of one. Dropping it does not wait for the threads: they leave by themselves.
    _pool: Option<ThreadPool>,
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("n_workers", &self.n_workers()).finish_non_exhaustive()
    }
}

impl Team {
    /// Starts `n_workers - 1` threads.
    ///
    /// # Errors
    /// If the system refuses a thread.
    ///
    /// # Panics
    /// If `n_workers` is zero.
    pub(crate) fn new(n_workers: usize) -> Result<Self, ThreadPoolBuildError> {
        assert!(0 < n_workers, "a team needs a worker");
        let shared = Arc::new(Shared::new(n_workers));
        if n_workers == 1 {
            return Ok(Self { shared, _pool: None });
        }
        let named = ThreadPoolBuilder::new().thread_name(|index| format!("sm-worker-{}", index + 1));
        let pool = named.num_threads(n_workers - 1).build()?;
        let resident = Arc::clone(&shared);
        pool.spawn_broadcast(move |thread| resident.serve(thread.index() + 1));
        Ok(Self { shared, _pool: Some(pool) })
    }

    /// Number of workers, the calling thread included.
    pub(crate) fn n_workers(&self) -> usize {
        self.shared.n_workers
    }

    /// The one parallel region of a step: every worker runs `body`; returns when all have left it.
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
        self.shared.publish(lent);
        self.shared.work(0, body);
        self.shared.finish()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.close();
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
        let mut spins = 0;
        while self.epoch.load(Ordering::Acquire) == *epoch && spins < IDLE_SPINS {
            spins += 1;
            std::hint::spin_loop();
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
    fn sleeping_threads_wake_for_the_next_call() {
        let mut team = Team::new(2).unwrap();
        for _ in 0..3 {
            wait_until(|| lock(&team.shared.call).n_sleeping == 1);
            team.run(|worker| worker.barrier()).unwrap();
        }
    }
}
