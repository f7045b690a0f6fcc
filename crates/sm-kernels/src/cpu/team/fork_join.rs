//! Lending a closure of the caller's stack to resident threads, until all of them have left it.
//!
//! What must hold, however a call ends: no thread uses the closure after [`ForkJoin::run`] has been left. So the wait for
//! the others is in the drop of a guard, which unwinding cannot pass by, and what may panic besides the closure is caught
//! where it happens: the payload of a panic can be any value, and dropping it can panic again.
#![allow(unsafe_code, reason = "a borrowed closure is lent to resident threads for the length of one call")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::worker::Worker;
use crate::cpu::barrier::{Barrier, PATIENCE, Poisoned};
use crate::cpu::signal::Signal;
use crate::cpu::sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock};

/// How long an idle thread spins for the next call at most: longer than sampling takes between two steps.
const MAX_IDLE_PATIENCE: Duration = Duration::from_micros(500);

/// What each worker runs.
pub(crate) type Body<'b> = dyn Fn(&Worker<'_>) -> Result<(), Poisoned> + Sync + 'b;

/// A worker panicked. The team can be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkerPanic {
    /// The panic's message.
    pub(crate) message: String,
}

/// What a call runs.
#[derive(Clone, Copy)]
struct Call {
    body: &'static Body<'static>,
    n_workers: usize,
}

/// Shared by the caller and the resident threads.
pub(crate) struct ForkJoin {
    barrier: Barrier,
    call: Mutex<Option<Call>>,
    /// For each resident thread, the number of calls that it takes part in so far.
    calls: Box<[Signal]>,
    is_closed: AtomicBool,
    /// Resident threads that have left the current body.
    n_left: Signal,
    first_panic: Mutex<Option<WorkerPanic>>,
    /// The longest time that a worker has waited at barriers in this call, in ns.
    waited_ns: AtomicU64,
}

/// A closure that is lent out. Dropping it waits until nobody has it any more.
struct Lent<'f> {
    fork_join: &'f ForkJoin,
    n_workers: usize,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.fork_join.n_left.wait_until(PATIENCE, |n_left| n_left as usize == self.n_workers - 1);
        *lock(&self.fork_join.call) = None;
    }
}

impl ForkJoin {
    pub(crate) fn new(n_workers: usize) -> Self {
        Self {
            barrier: Barrier::default(),
            call: Mutex::new(None),
            calls: (1..n_workers).map(|_| Signal::default()).collect(),
            is_closed: AtomicBool::new(false),
            n_left: Signal::default(),
            first_panic: Mutex::new(None),
            waited_ns: AtomicU64::new(0),
        }
    }

    /// Workers, the caller included.
    pub(crate) fn n_workers(&self) -> usize {
        self.calls.len() + 1
    }

    /// Has the first `n_workers` run `body`, the calling thread as worker 0, and returns when all have left it: the longest
    /// time that one of them has waited at barriers. One call at a time.
    ///
    /// # Errors
    /// The first panic of a worker; the others leave at their next barrier.
    pub(crate) fn run(&self, n_workers: usize, body: &Body<'_>) -> Result<Duration, WorkerPanic> {
        // SAFETY: only the lifetime changes. Threads use `body` between `publish` and their increment of `n_left`, which
        // the drop of `Lent` waits for: at the end of its block, or when something in it unwinds.
        let lent = unsafe { std::mem::transmute::<&Body<'_>, &'static Body<'static>>(body) };
        {
            let _until_all_have_left = Lent { fork_join: self, n_workers };
            self.publish(lent, n_workers);
            self.work(&Worker::new(0, n_workers, &self.barrier), body);
        }
        match lock(&self.first_panic).take() {
            None => Ok(Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))),
            Some(panic) => {
                self.barrier.reset();
                Err(panic)
            }
        }
    }

    /// Has resident threads below `n_workers` run `body`.
    fn publish(&self, body: &'static Body<'static>, n_workers: usize) {
        self.n_left.reset();
        self.waited_ns.store(0, Ordering::Relaxed);
        *lock(&self.call) = Some(Call { body, n_workers });
        self.calls[..n_workers - 1].iter().for_each(|calls| calls.add(1));
    }

    /// Lets the resident threads end.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.calls.iter().for_each(|calls| calls.add(1));
    }

    /// Runs a worker's part of a call. Does not unwind.
    fn work(&self, worker: &Worker<'_>, body: &Body<'_>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
            // A poisoned barrier only means that this worker leaves early; the one that panicked reports it.
            let _ = body(worker);
        })) {
            let message = message_of(payload.as_ref());
            drop_quietly(payload);
            lock(&self.first_panic).get_or_insert(WorkerPanic { message });
            self.barrier.poison();
        }
        self.waited_ns.fetch_max(worker.waited().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Runs a resident thread until the threads are closed.
    pub(crate) fn serve(&self, index: usize) {
        let calls = &self.calls[index - 1];
        let mut n_calls = 0;
        let mut patience = PATIENCE;
        loop {
            let idle = calls.wait_until(patience, |value| value != n_calls);
            // Spinning pays off only if calls follow each other as fast as steps do.
            patience = if idle < MAX_IDLE_PATIENCE { MAX_IDLE_PATIENCE } else { PATIENCE };
            n_calls = n_calls.wrapping_add(1);
            if self.is_closed.load(Ordering::Acquire) {
                return;
            }
            let call = *lock(&self.call);
            let Some(Call { body, n_workers }) = call else { continue };
            self.work(&Worker::new(index, n_workers, &self.barrier), body);
            self.n_left.add(1);
        }
    }

    /// Resident threads that sleep.
    #[cfg(test)]
    pub(crate) fn n_sleeping(&self) -> u32 {
        self.calls.iter().map(Signal::n_sleeping).sum()
    }
}

/// Drops the payload of a panic. If that panics too, the second payload is leaked: dropping it might go on like that.
fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
