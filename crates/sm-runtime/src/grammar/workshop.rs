//! Compiles grammars on threads of their own, within a time.
//!
//! The compiler recurses on references between rules and on the properties of an object, so it needs more stack than a caller's thread
//! has; and some grammars, such as the intersection of many patterns, cost exponential time. A thread cannot be stopped, so one that
//! takes too long is left behind: its request fails, and while [`MAX_THREADS`] are at work, others wait within their own time. The
//! sizes that [`limits`](super::limits) admits need a few hundred megabytes at most, in the worst case found.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Stack of a compiler's thread; only the pages that it uses take memory. The deepest grammars within the limits use a third of it
/// in builds without optimization.
const STACK_BYTES: usize = 256 << 20;
/// Maximum number of compilers at work in this process.
const MAX_THREADS: usize = 4;

static WORKSHOP: Workshop = Workshop { n_busy: Mutex::new(0), freed: Condvar::new() };

struct Workshop {
    n_busy: Mutex<usize>,
    freed: Condvar,
}

/// A place in the workshop.
struct Place;

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// It took too long.
    #[error(
        "compiling it took more than {} ms; simplify it, or raise the engine's grammar.max_compile_ms",
        limit.as_millis()
    )]
    TimedOut { limit: Duration },
    /// No place became free in time.
    #[error("{MAX_THREADS} other grammars were being compiled for {} ms; retry later", limit.as_millis())]
    Busy { limit: Duration },
    /// The compiler has a fault.
    #[error("the compiler cannot handle it")]
    Panicked,
    /// There is no thread to be had.
    #[error(
        "no thread can be started to compile it: {0}; retry later, or raise the limit of threads or memory"
    )]
    NoThread(io::Error),
}

/// Runs a job on a thread with a large stack and waits for its result, for `limit` at most. The job may run on after that.
///
/// # Errors
/// If there is no result in time.
pub(super) fn run<T: Send + 'static>(
    limit: Duration,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobError> {
    let deadline = Instant::now() + limit;
    let place = WORKSHOP.enter(deadline).ok_or(JobError::Busy { limit })?;
    let (done, is_done) = mpsc::sync_channel(1);
    let work = move || {
        let _place = place;
        let result = catch_unwind(AssertUnwindSafe(job)).map_err(|payload| {
            // A payload may panic when it is dropped.
            std::mem::forget(payload);
            JobError::Panicked
        });
        // Nobody waits any more if it took too long; the result is then dropped here, where the stack is large.
        let _ = done.send(result);
    };
    let builder = thread::Builder::new().name("sm-grammar".to_owned()).stack_size(STACK_BYTES);
    builder.spawn(work).map_err(JobError::NoThread)?;
    match is_done.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(JobError::TimedOut { limit }),
        Err(RecvTimeoutError::Disconnected) => Err(JobError::Panicked),
    }
}

impl Workshop {
    /// Waits for a place until `deadline`.
    fn enter(&self, deadline: Instant) -> Option<Place> {
        let n_busy = self.n_busy.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = deadline.saturating_duration_since(Instant::now());
        let is_full = |n_busy: &mut usize| *n_busy >= MAX_THREADS;
        let (mut n_busy, waited) =
            self.freed.wait_timeout_while(n_busy, patience, is_full).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *n_busy += 1;
        Some(Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *WORKSHOP.n_busy.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        WORKSHOP.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Long enough for any job of these tests on a busy machine.
    const PATIENT: Duration = Duration::from_secs(60);

    /// Recurses `depth` times with frames of a kilobyte.
    fn recurse(depth: usize) -> usize {
        let frame = std::hint::black_box([depth; 128]);
        if depth == 0 { frame[0] } else { recurse(depth - 1) + usize::from(frame[1] == 0) }
    }

    #[test]
    fn a_job_may_recurse_deeply_and_may_panic() {
        assert_eq!(run(PATIENT, || recurse(60_000)).unwrap(), 0);
        assert!(matches!(run(PATIENT, || panic!("a job that fails")), Err(JobError::Panicked)));
    }

    #[test]
    fn a_job_that_takes_too_long_is_left_behind_and_keeps_its_place() {
        let (finish, finished) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel();
        let limit = Duration::from_millis(1);
        let error = run(limit, move || {
            let _ = finished.recv();
            ended.send(()).unwrap();
        });
        assert!(matches!(error, Err(JobError::TimedOut { .. })), "{error:?}");
        assert_eq!(run(PATIENT, || 7).unwrap(), 7, "others have their own places");
        drop(finish);
        has_ended.recv().unwrap();
    }
}
