//! How fast the workers read the weights, and compute what is in their first-level caches.

use std::hint::black_box;
use std::time::Instant;

use super::team::Team;
use super::weights::Weights;
use crate::isa::{Isa, IsaKind, IsaVisitor, LANES};
use crate::plan::Speed;

/// Runs of each measurement, the best of which counts.
const N_RUNS: usize = 5;

/// Steps of the inner loop of a computation.
const N_STEPS: usize = 1 << 17;

/// Rows of the bytes and values that a computation goes over again and again.
const N_ROWS: usize = 64;

/// Measures a team with weights that it has packed.
pub(crate) fn measure(team: &mut Team, isa: IsaKind, weights: &Weights) -> Speed {
    isa.dispatch(Measure { team, weights })
}

struct Measure<'a> {
    team: &'a mut Team,
    weights: &'a Weights,
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
}

impl IsaVisitor for Measure<'_> {
    type Output = Speed;

    fn visit<I: Isa>(mut self, isa: I) -> Speed {
        let (weights, n_workers) = (self.weights, self.team.n_workers());
        let read = |worker| {
            isa.enter(
                #[inline(always)]
                || black_box(weights.checksum(worker, n_workers)),
            );
        };
        let read_bytes = self.rate(read) * weights.matrix_bytes() as f64;
        // Two operations for each product, which is also added.
        let ops = (2 * n_workers * N_STEPS) as f64;
        let (float_ops, int8_ops) = if I::MANY_REGISTERS {
            (self.rate(|_| floats::<I, 12>(isa)) * 12.0, self.rate(|_| bytes::<I, 12>(isa)) * 12.0)
        } else {
            (self.rate(|_| floats::<I, 4>(isa)) * 4.0, self.rate(|_| bytes::<I, 4>(isa)) * 4.0)
        };
        Speed { read_bytes, float_ops: float_ops * ops * 16.0, int8_ops: int8_ops * ops * 64.0 }
    }
}

/// Multiply-adds of single precision into `N` vectors.
fn floats<I: Isa, const N: usize>(isa: I) {
    let rows = black_box([[1.0; LANES]; N_ROWS]);
    let xs = black_box([0.5; 2 * N_ROWS]);
    isa.enter(
        #[inline(always)]
        || {
            let mut sums = [isa.splat(0.0); N];
            for step in 0..N_STEPS {
                let row = isa.load(&rows[step % N_ROWS]);
                for i in 0..N {
                    sums[i] = isa.mul_add(row, isa.splat(xs[step % N_ROWS + i]), sums[i]);
                }
            }
            for sum in sums {
                black_box(isa.sum(sum));
            }
        },
    );
}

/// Products of bytes, four to a lane, added into `N` vectors.
fn bytes<I: Isa, const N: usize>(isa: I) {
    let rows = black_box([[3_u8; 64]; N_ROWS]);
    let xs = black_box([[1_i8; 4]; 2 * N_ROWS]);
    isa.enter(
        #[inline(always)]
        || {
            let mut sums = [isa.splat_i32(0); N];
            for step in 0..N_STEPS {
                let row = isa.load_bytes(&rows[step % N_ROWS]);
                for i in 0..N {
                    sums[i] = isa.dot(sums[i], row, isa.splat_quad(xs[step % N_ROWS + i]));
                }
            }
            for sum in sums {
                black_box(isa.sum_i32(sum));
            }
        },
    );
}
