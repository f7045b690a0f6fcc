//! Compiles grammars on threads of their own, within a time.
//!
//! The compiler recurses on references between rules and on the properties of an object, so it needs more stack than a caller's thread
//! has; and some grammars, such as the intersection of many patterns, cost exponential time. A thread cannot be stopped, so one that
//! takes too long is left behind: its request fails, and while [`MAX_THREADS`] are at work, others wait within their own time.
//!
//! What compiling takes grows with the text, up to some hundred bytes for each of it. So a text that is long waits until it and those
//! that are being compiled have [`MAX_BYTES`] together, or until it is the only one: memory is bounded by what one text of the
//! largest size needs, whoever sends how many of them.

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
/// Maximum length of the texts together that are compiled at a time, unless there is only one. Most grammars have a few kilobytes.
const MAX_BYTES: usize = 256 << 10;

static WORKSHOP: Workshop =
    Workshop { busy: Mutex::new(Busy { n_jobs: 0, n_bytes: 0 }), freed: Condvar::new() };

struct Workshop {
    busy: Mutex<Busy>,
    freed: Condvar,
}

/// What is being compiled.
struct Busy {
    n_jobs: usize,
    /// Of their texts.
    n_bytes: usize,
}

/// A place in the workshop, for a text of so many bytes.
struct Place {
    n_bytes: usize,
}

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// It took too long.
    #[error(
        "compiling it took more than {} ms; simplify it, or raise grammar.max_compile_ms of the engine (--max-compile-ms)",
        limit.as_millis()
    )]
    TimedOut { limit: Duration },
    /// No place became free in time.
    #[error("others were being compiled for {} ms", limit.as_millis())]
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

/// Runs a job for a text of `n_bytes` on a thread with a large stack and waits for its result, for `limit` at most. The job may run
/// on after that.
///
/// # Errors
/// If there is no result in time.
pub(super) fn run<T: Send + 'static>(
    limit: Duration,
    n_bytes: usize,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobError> {
    let deadline = Instant::now() + limit;
    let place = WORKSHOP.enter(deadline, n_bytes).ok_or(JobError::Busy { limit })?;
    let (done, is_done) = mpsc::sync_channel(1);
    let work = move || {
        let _place = place;
        let result = catch_unwind(AssertUnwindSafe(job)).map_err(|payload| {
            // A payload may panic when it is dropped; what it panics with is left alone.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(std::mem::forget);
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
    fn enter(&self, deadline: Instant, n_bytes: usize) -> Option<Place> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = deadline.saturating_duration_since(Instant::now());
        let (mut busy, waited) = self
            .freed
            .wait_timeout_while(busy, patience, |busy| !busy.has_room(n_bytes))
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        busy.n_jobs += 1;
        busy.n_bytes += n_bytes;
        Some(Place { n_bytes })
    }
}

impl Busy {
    fn has_room(&self, n_bytes: usize) -> bool {
        self.n_jobs == 0 || self.n_jobs < MAX_THREADS && self.n_bytes + n_bytes <= MAX_BYTES
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut busy = WORKSHOP.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.n_jobs -= 1;
        busy.n_bytes -= self.n_bytes;
        drop(busy);
        // There may be room for several, and not for whoever would be woken alone.
        WORKSHOP.freed.notify_all();
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
        assert_eq!(run(PATIENT, 1, || recurse(60_000)).unwrap(), 0);
        assert!(matches!(run(PATIENT, 1, || panic!("a job that fails")), Err(JobError::Panicked)));
    }

    #[test]
    fn a_job_that_takes_too_long_is_left_behind_and_keeps_its_place() {
        let (finish, finished) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel();
        let limit = Duration::from_millis(1);
        let error = run(limit, 1, move || {
            let _ = finished.recv();
            ended.send(()).unwrap();
        });
        assert!(matches!(error, Err(JobError::TimedOut { .. })), "{error:?}");
        assert_eq!(run(PATIENT, 1, || 7).unwrap(), 7, "others have their own places");
        drop(finish);
        has_ended.recv().unwrap();
    }

    #[test]
    fn long_texts_are_compiled_one_at_a_time_and_short_ones_beside_them() {
        let busy = |n_jobs, n_bytes| Busy { n_jobs, n_bytes };
        let long = MAX_BYTES - 1000;
        assert!(busy(0, 0).has_room(10 * MAX_BYTES), "alone, any text");
        assert!(busy(1, long).has_room(1000) && !busy(1, long).has_room(1001));
        assert!(!busy(1, 1).has_room(MAX_BYTES));
        assert!(busy(MAX_THREADS - 1, 1).has_room(1) && !busy(MAX_THREADS, 1).has_room(1));
    }
}
