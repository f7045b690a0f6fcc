//! Measures the roofline of a team: bandwidth of reading its packed weights, and peak arithmetic from L1 (Williams et
//! al. 2009).
//!
//! The best of several runs counts, since other work on the machine can only slow one down.

use std::hint::black_box;
use std::time::Instant;

use super::peak::{Precision, multiply_and_add};
use super::team::Team;
use super::weights::PackedWeights;
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor};
use crate::plan::Speed;

/// Runs of each measurement.
const N_RUNS: usize = 5;

/// Rounds of arithmetic per run.
const N_ROUNDS: usize = 1 << 17;

/// Measures a team over the weights that it packed.
pub(crate) fn measure(team: &mut Team, isa: IsaKind, weights: &PackedWeights) -> Speed {
    isa.dispatch(Measure { team, isa, weights })
}

struct Measure<'a> {
    team: &'a mut Team,
    isa: IsaKind,
    weights: &'a PackedWeights,
}

impl Measure<'_> {
    /// How often per second all workers can run `body`.
    fn rate(&mut self, body: impl Fn(usize) + Sync) -> f64 {
        let mut run = || {
            let began = Instant::now();
            // The bodies below cannot panic.
            let _ = self.team.run(|worker| {
                body(worker.index());
                Ok(())
            });
            1.0 / began.elapsed().as_secs_f64()
        };
        (0..N_RUNS).map(|_| run()).fold(0.0, f64::max)
    }

    /// Operations per second of all workers.
    fn ops(&mut self, precision: Precision) -> f64 {
        let isa = self.isa;
        let n_workers = self.team.n_workers() as f64;
        let ops_per_round = multiply_and_add(isa, precision, 1) as f64;
        let rate = self.rate(|_| _ = black_box(multiply_and_add(isa, precision, N_ROUNDS)));
        rate * ops_per_round * N_ROUNDS as f64 * n_workers
    }
}

impl IsaVisitor for Measure<'_> {
    type Output = Speed;

    fn visit<I: Isa>(mut self, isa: I) -> Speed {
        let weights = self.weights;
        let n_workers = self.team.n_workers();
        let read = |worker| {
            isa.enter(
                #[inline(always)]
                || black_box(weights.checksum(worker, n_workers)),
            );
        };
        let read_bytes = self.rate(read) * weights.matrix_bytes() as f64;
        let [float_ops, bf16_ops, int8_ops] =
            [Precision::F32, Precision::Bf16, Precision::Int8].map(|precision| self.ops(precision));
        Speed { read_bytes, float_ops, bf16_ops, int8_ops }
    }
}
