//! Peak arithmetic throughput of an instruction set: multiply-adds in registers, as any kernel does them at best.
//!
//! ```text
//! F32     N independent chains of fma                       N = 12 with 32 registers, else 5
//! Bf16    the same with pairs, vdpbf16ps or two fma
//! Int8    N chains of byte dots, summed in 32 or 16 bits, whichever is faster
//! ```
//!
//! Enough chains to hide the latency of an addition, operands from L1. The profile and the kernels' bench divide by
//! these figures, so they must not be beaten by a kernel: what is faster on a set is what is measured.

use std::hint::black_box;

use crate::cpu::isa::{Bf16Products, Bf16Visitor, Isa, IsaKind, IsaVisitor, LANES};

/// Operands of a multiply-add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    F32,
    /// Pairs of bfloat16, added up in single precision.
    Bf16,
    /// Signed bytes times unsigned bytes of few bits, added up in integers.
    Int8,
}

/// Vectors of weights that a loop cycles through: they stay in L1.
const N_WEIGHTS: usize = 64;

/// Runs `n_rounds` rounds of multiply-adds on this thread. Returns the number of operations: multiplications and
/// additions are counted as one each.
///
/// # Panics
/// If the processor does not support `kind`.
pub fn multiply_and_add(kind: IsaKind, precision: Precision, n_rounds: usize) -> u64 {
    kind.dispatch(Loop { precision, n_rounds })
}

struct Loop {
    precision: Precision,
    n_rounds: usize,
}

impl IsaVisitor for Loop {
    type Output = u64;

    fn visit<I: Isa>(self, isa: I) -> u64 {
        match (self.precision, I::HAS_32_REGISTERS) {
            (Precision::F32, true) => floats::<I, 12>(isa, self.n_rounds),
            (Precision::F32, false) => floats::<I, 5>(isa, self.n_rounds),
            (Precision::Bf16, _) => pairs(isa, self.n_rounds),
            (Precision::Int8, true) => dots::<I, 12>(isa, self.n_rounds),
            (Precision::Int8, false) if I::PREFERS_I16_SUMS => dots_i16::<I, 4>(isa, self.n_rounds),
            (Precision::Int8, false) => dots::<I, 4>(isa, self.n_rounds),
        }
    }
}

/// `N` chains of fused multiply-adds.
fn floats<I: Isa, const N: usize>(isa: I, n_rounds: usize) -> u64 {
    let weights = black_box([[1.0_f32; LANES]; N_WEIGHTS]);
    isa.enter(
        #[inline(always)]
        || {
            let x = isa.splat(black_box(1e-9));
            let mut sums = [isa.splat(0.0); N];
            for round in 0..n_rounds {
                let weights = isa.load(&weights[round % N_WEIGHTS]);
                for sum in &mut sums {
                    *sum = isa.mul_add(weights, x, *sum);
                }
            }
            for sum in sums {
                black_box(isa.reduce_sum(sum));
            }
        },
    );
    (n_rounds * N * LANES * 2) as u64
}

/// Chains of pairs of bfloat16.
fn pairs<I: Isa>(isa: I, n_rounds: usize) -> u64 {
    let mut n_operations = 0;
    isa.with_bf16(Pairs { isa, n_rounds, n_operations: &mut n_operations });
    n_operations
}

struct Pairs<'a, I> {
    isa: I,
    n_rounds: usize,
    n_operations: &'a mut u64,
}

impl<I: Isa> Bf16Visitor<I> for Pairs<'_, I> {
    fn visit<B: Bf16Products<I>>(self, products: B) {
        if I::HAS_32_REGISTERS { self.run::<B, 12>(products) } else { self.run::<B, 5>(products) }
    }
}

impl<I: Isa> Pairs<'_, I> {
    fn run<B: Bf16Products<I>, const N: usize>(self, products: B) {
        let isa = self.isa;
        let weights = black_box([[1_u8; 4 * LANES]; N_WEIGHTS]);
        let x = black_box([0x3f80; 2]);
        products.enter(
            #[inline(always)]
            || {
                let mut sums = [isa.splat(0.0); N];
                for round in 0..self.n_rounds {
                    for stage in 0..B::STAGES {
                        let weights = products.weights(isa.load_bytes(&weights[round % N_WEIGHTS]), stage);
                        for sum in &mut sums {
                            *sum = products.add(*sum, weights, B::pair(x), stage);
                        }
                    }
                }
                for sum in sums {
                    black_box(isa.reduce_sum(sum));
                }
            },
        );
        *self.n_operations = (self.n_rounds * N * LANES * 2 * 2) as u64;
    }
}

/// `N` chains of byte dots in 32 bits.
fn dots<I: Isa, const N: usize>(isa: I, n_rounds: usize) -> u64 {
    bytes::<I, _, N>(
        isa,
        n_rounds,
        isa.splat_i32(0),
        #[inline(always)]
        |sum, weights, x| isa.dot_7bit(sum, weights, x),
    )
}

/// `N` chains of byte dots in 16 bits.
fn dots_i16<I: Isa, const N: usize>(isa: I, n_rounds: usize) -> u64 {
    bytes::<I, _, N>(
        isa,
        n_rounds,
        isa.load_bytes(&[0; 64]),
        #[inline(always)]
        |sum, weights, x| isa.dot_i16(sum, weights, x),
    )
}

/// `N` chains of `add`, four products in each lane.
fn bytes<I: Isa, S: Copy, const N: usize>(
    isa: I,
    n_rounds: usize,
    zero: S,
    add: impl Fn(S, I::Bytes, I::Bytes) -> S,
) -> u64 {
    let weights = black_box([[1_u8; 4 * LANES]; N_WEIGHTS]);
    // All different, or the compiler would compute the products once for all chains.
    let xs: [[i8; 4]; N] = black_box(std::array::from_fn(|chain| [chain as i8; 4]));
    isa.enter(
        #[inline(always)]
        || {
            let mut inputs = [isa.splat_quad([0; 4]); N];
            for (input, x) in inputs.iter_mut().zip(xs) {
                *input = isa.splat_quad(x);
            }
            let mut sums = [zero; N];
            for round in 0..n_rounds {
                let weights = isa.load_bytes(&weights[round % N_WEIGHTS]);
                for (sum, input) in sums.iter_mut().zip(inputs) {
                    *sum = add(*sum, weights, input);
                }
            }
            black_box(sums);
        },
    );
    (n_rounds * N * LANES * 4 * 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_on_every_set() {
        for kind in IsaKind::available() {
            for (precision, products) in [(Precision::F32, 1), (Precision::Bf16, 2), (Precision::Int8, 4)] {
                let operations = multiply_and_add(kind, precision, 100);
                let per_chain = 100 * LANES as u64 * products * 2;
                assert!(operations >= 4 * per_chain && operations.is_multiple_of(per_chain), "{kind}");
            }
        }
    }
}
