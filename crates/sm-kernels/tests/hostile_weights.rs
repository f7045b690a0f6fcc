//! Weight sources that panic in the worst way: nothing that safe code does may leave workers on a dead stack frame.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use sm_kernels::CpuBackend;
use sm_kernels::plan::{Backend, Limits, WeightError, WeightSource};
use sm_kernels::testing::{self, RandomWeights};
use sm_tensor::DType;

/// A payload of a panic that panics itself when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("the payload panics when it is dropped");
        }
    }
}

/// Panics on one thread while the others still read.
struct Hostile {
    inner: RandomWeights,
    victim: ThreadId,
    panics_on_victim: bool,
    n_reading: AtomicUsize,
}

impl WeightSource for Hostile {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        if (thread::current().id() == self.victim) == self.panics_on_victim {
            thread::sleep(Duration::from_millis(20));
            panic_any(Bomb);
        }
        self.n_reading.fetch_add(1, Ordering::SeqCst);
        // Slow, so that it is still at work when the panic unwinds.
        thread::sleep(Duration::from_millis(100));
        self.n_reading.fetch_sub(1, Ordering::SeqCst);
        self.inner.matrix_rows(tensor, rows, buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        self.inner.vector(tensor)
    }
}

/// Loads from a hostile source; whether or not the load unwinds, no worker may be at work when it is over.
fn load(panics_on_victim: bool) {
    let plan = testing::decoder(DType::F32);
    let source = Hostile {
        inner: RandomWeights::new(&plan),
        victim: thread::current().id(),
        panics_on_victim,
        n_reading: AtomicUsize::new(0),
    };
    let backend = CpuBackend::new().threads(2);
    let loaded = catch_unwind(AssertUnwindSafe(|| {
        backend.prepare(&plan, &source, Limits::one_sequence(64), &|_| ()).map(drop)
    }));
    assert!(!matches!(loaded, Ok(Ok(()))), "half of the weights were never read");
    assert_eq!(
        source.n_reading.load(Ordering::SeqCst),
        0,
        "a worker still reads the source that is about to go"
    );
    // The backend is as good as before.
    backend.prepare(&plan, &source.inner, Limits::one_sequence(64), &|_| ()).unwrap();
}

#[test]
fn a_payload_that_panics_on_the_callers_thread_waits_for_the_workers() {
    load(true);
}

#[test]
fn a_payload_that_panics_on_a_worker_does_not_end_the_process() {
    load(false);
}
