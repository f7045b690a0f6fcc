//! How fast an instruction set multiplies and adds in registers: the limit of every kernel that is written over it.

use std::hint::black_box;

use crate::cpu::isa::{Bf16Products, Bf16Visitor, Isa, IsaKind, IsaVisitor, LANES};

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Single precision.
    F32,
    /// Pairs of bfloat16, added up in single precision as quickly as any kernel does.
    Bf16,
    /// Signed bytes with bytes of few bits, added up as quickly as any kernel does.
    Int8,
}

/// Bytes, or floats, of weights that a loop goes over: they stay in the first-level cache.
const N_WEIGHTS: usize = 64;

/// Multiplies and adds on this thread in `n_rounds` rounds; gives the number of operations, multiplications and additions
/// both counted.
///
/// # Panics
/// If the processor lacks `kind`.
pub fn multiply_and_add(kind: IsaKind, numbers: Numbers, n_rounds: usize) -> u64 {
    kind.dispatch(Loop { numbers, n_rounds })
}

struct Loop {
    numbers: Numbers,
    n_rounds: usize,
}

impl IsaVisitor for Loop {
    type Output = u64;

    fn visit<I: Isa>(self, isa: I) -> u64 {
        match (self.numbers, I::HAS_32_REGISTERS) {
            (Numbers::F32, true) => floats::<I, 12>(isa, self.n_rounds),
            (Numbers::F32, false) => floats::<I, 5>(isa, self.n_rounds),
            (Numbers::Bf16, _) => pairs(isa, self.n_rounds),
            (Numbers::Int8, true) => dots::<I, 12>(isa, self.n_rounds),
            (Numbers::Int8, false) if I::PREFERS_I16_SUMS => shorts::<I, 4>(isa, self.n_rounds),
            (Numbers::Int8, false) => dots::<I, 4>(isa, self.n_rounds),
        }
    }
}

/// `N` chains of additions, so that an addition need not wait for the one before.
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

/// The same with pairs of bfloat16.
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
                    for step in 0..B::STAGES {
                        let weights = products.weights(isa.load_bytes(&weights[round % N_WEIGHTS]), step);
                        for sum in &mut sums {
                            *sum = products.add(*sum, weights, B::pair(x), step);
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

/// The same with bytes, added up in 32 bits.
fn dots<I: Isa, const N: usize>(isa: I, n_rounds: usize) -> u64 {
    bytes::<I, _, N>(
        isa,
        n_rounds,
        isa.splat_i32(0),
        #[inline(always)]
        |sum, weights, x| isa.dot_7bit(sum, weights, x),
    )
}

/// The same with bytes, added up in 16 bits.
fn shorts<I: Isa, const N: usize>(isa: I, n_rounds: usize) -> u64 {
    bytes::<I, _, N>(
        isa,
        n_rounds,
        isa.load_bytes(&[0; 64]),
        #[inline(always)]
        |sum, weights, x| isa.dot_i16(sum, weights, x),
    )
}

/// `N` chains of `add`, four products to a lane.
fn bytes<I: Isa, S: Copy, const N: usize>(
    isa: I,
    n_rounds: usize,
    zero: S,
    add: impl Fn(S, I::Bytes, I::Bytes) -> S,
) -> u64 {
    let weights = black_box([[1_u8; 4 * LANES]; N_WEIGHTS]);
    // Different ones, or the products would be made once for all chains.
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
    fn every_set_counts_what_it_does() {
        for kind in IsaKind::available() {
            for (numbers, products) in [(Numbers::F32, 1), (Numbers::Bf16, 2), (Numbers::Int8, 4)] {
                let operations = multiply_and_add(kind, numbers, 100);
                let per_chain = 100 * LANES as u64 * products * 2;
                assert!(operations >= 4 * per_chain && operations.is_multiple_of(per_chain), "{kind}");
            }
        }
    }
}
