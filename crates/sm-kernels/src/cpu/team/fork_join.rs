//! What the caller and the resident threads of a team share: the body to run, and who has left it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Body, Worker, WorkerPanic, lock};
use crate::cpu::barrier::{Barrier, PATIENCE};
use crate::cpu::signal::Signal;

/// How long an idle thread spins for the next call at most: longer than sampling takes between two steps.
const MAX_IDLE_PATIENCE: Duration = Duration::from_micros(500);

/// What a call runs.
#[derive(Clone, Copy)]
struct Call {
    body: &'static Body<'static>,
    n_workers: usize,
}

/// Shared by the caller and the resident threads.
pub(super) struct ForkJoin {
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

impl ForkJoin {
    pub(super) fn new(n_workers: usize) -> Self {
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
    pub(super) fn n_workers(&self) -> usize {
        self.calls.len() + 1
    }

    pub(super) fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// Has the first `n_workers` run `body`.
    pub(super) fn publish(&self, body: &'static Body<'static>, n_workers: usize) {
        self.n_left.reset();
        self.waited_ns.store(0, Ordering::Relaxed);
        *lock(&self.call) = Some(Call { body, n_workers });
        self.calls[..n_workers - 1].iter().for_each(|calls| calls.add(1));
    }

    /// Lets the resident threads end.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.calls.iter().for_each(|calls| calls.add(1));
    }

    /// Runs a worker's part of a call.
    pub(super) fn work(&self, worker: &Worker<'_>, body: &Body<'_>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| {
            // A poisoned barrier only means that this worker leaves early; the one that panicked reports it.
            let _ = body(worker);
        })) {
            lock(&self.first_panic)
                .get_or_insert_with(|| WorkerPanic { message: message_of(payload.as_ref()) });
            self.barrier.poison();
        }
        self.waited_ns.fetch_max(worker.waited.get().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Waits until all have left the body. Returns the longest time that one has waited at barriers.
    pub(super) fn finish(&self, n_workers: usize) -> Result<Duration, WorkerPanic> {
        self.n_left.wait_until(PATIENCE, |n_left| n_left as usize == n_workers - 1);
        *lock(&self.call) = None;
        match lock(&self.first_panic).take() {
            None => Ok(Duration::from_nanos(self.waited_ns.load(Ordering::Relaxed))),
            Some(panic) => {
                self.barrier.reset();
                Err(panic)
            }
        }
    }

    /// Runs a resident thread until the threads are closed.
    pub(super) fn serve(&self, index: usize) {
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
    pub(super) fn n_sleeping(&self) -> u32 {
        self.calls.iter().map(Signal::n_sleeping).sum()
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
