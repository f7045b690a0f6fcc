//! How fast the workers read the weights, and compute what is in their first-level caches.

use std::hint::black_box;
use std::time::Instant;

use super::peak::{Numbers, multiply_and_add};
use super::team::Team;
use super::weights::PackedWeights;
use crate::cpu::isa::{Isa, IsaKind, IsaVisitor};
use crate::plan::Speed;

/// Runs of each measurement, the best of which counts.
const N_RUNS: usize = 5;

/// Rounds of a computation.
const N_ROUNDS: usize = 1 << 17;

/// Measures a team with weights that it has packed.
pub(crate) fn measure(team: &mut Team, isa: IsaKind, weights: &PackedWeights) -> Speed {
    isa.dispatch(Measure { team, isa, weights })
}

struct Measure<'a> {
    team: &'a mut Team,
    isa: IsaKind,
    weights: &'a PackedWeights,
}

impl Measure<'_> {
    /// How often in a second all workers do `body`.
    fn rate(&mut self, body: impl Fn(usize) + Sync) -> f64 {
        let mut run = || {
            let began = Instant::now();
            // The bodies below cannot panic; if one did, its time would say nothing, and be as short as any.
            let _ = self.team.run(|worker| {
                body(worker.index());
                Ok(())
            });
            1.0 / began.elapsed().as_secs_f64()
        };
        (0..N_RUNS).map(|_| run()).fold(0.0, f64::max)
    }

    /// Operations in a second, by all workers.
    fn ops(&mut self, numbers: Numbers) -> f64 {
        let isa = self.isa;
        let n_workers = self.team.n_workers() as f64;
        let ops_of_a_round = multiply_and_add(isa, numbers, 1) as f64;
        let rate = self.rate(|_| _ = black_box(multiply_and_add(isa, numbers, N_ROUNDS)));
        rate * ops_of_a_round * N_ROUNDS as f64 * n_workers
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
            [Numbers::F32, Numbers::Bf16, Numbers::Int8].map(|numbers| self.ops(numbers));
        Speed { read_bytes, float_ops, bf16_ops, int8_ops }
    }
}
