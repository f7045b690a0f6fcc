//! Two fixed kernels that measure the machine's current speed, so that runs from different days are comparable.

use std::hint::black_box;
use std::time::Instant;

/// Words read by the memory kernel: 256 MiB, more than any cache.
const N_WORDS: usize = 32 << 20;
/// Rounds of the arithmetic kernel.
const N_ROUNDS: u64 = 50_000_000;

/// How long the kernels took, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Integer multiply-adds in registers.
    pub arithmetic: f64,
    /// A sequential read of memory.
    pub memory: f64,
}

/// The kernels, with the memory to read.
#[derive(Debug)]
pub struct Calibrator {
    words: Vec<u64>,
    n_threads: usize,
}

impl Calibrator {
    /// Kernels for `n_threads` threads.
    pub fn new(n_threads: usize) -> Self {
        Self { words: vec![1; N_WORDS], n_threads: n_threads.max(1) }
    }

    /// Runs both.
    pub fn run(&self) -> Calibration {
        let shares: Vec<_> = self.words.chunks(N_WORDS.div_ceil(self.n_threads)).collect();
        let memory = self.time(|thread| shares[thread].iter().fold(0, |bits, word| bits | word));
        Calibration { arithmetic: self.time(|thread| arithmetic(thread, N_ROUNDS)), memory }
    }

    /// Runs `work` on every thread. Returns the seconds until all are done.
    fn time(&self, work: impl Fn(usize) -> u64 + Sync) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..self.n_threads {
                let work = &work;
                scope.spawn(move || black_box(work(thread)));
            }
        });
        start.elapsed().as_secs_f64()
    }
}

/// Four independent chains keep the multiplier busy.
fn arithmetic(thread: usize, n_rounds: u64) -> u64 {
    let mut chains = [1, 2, 3, 4_u64].map(|chain| chain + black_box(thread as u64));
    for round in 0..n_rounds {
        chains = chains.map(|chain| chain.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round));
    }
    chains.iter().fold(0, |bits, chain| bits ^ chain)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn every_thread_works_and_differently() {
        let calibrator = Calibrator { words: Vec::new(), n_threads: 3 };
        let threads = AtomicU64::new(0);
        calibrator.time(|thread| threads.fetch_or(1 << thread, Ordering::Relaxed));
        assert_eq!(threads.into_inner(), 0b111);
        assert_ne!(arithmetic(0, 100), arithmetic(1, 100));
    }
}
