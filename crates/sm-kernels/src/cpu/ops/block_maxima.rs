//! The maximum of each block of 64 logits, and whether all are finite, in one pass.
//!
//! Sampling needs the logits for three things: a check for NaN and infinity, the largest one, and the top k. One vector
//! pass does the first two; top-k then looks only into blocks whose maximum can be among the k.

use crate::cpu::isa::{Isa, IsaKind, IsaVisitor, LANES};

/// Values in a block of [`block_maxima`].
pub const BLOCK_LEN: usize = 64;

/// Replaces the contents of `maxima` by the largest value of each [`BLOCK_LEN`] of `values`; the last block may be
/// shorter. NaN is ignored, and a block of NaN alone has `-inf`. Returns whether all values are finite.
pub fn block_maxima(values: &[f32], maxima: &mut Vec<f32>) -> bool {
    struct Scan<'a>(&'a [f32], &'a mut Vec<f32>);
    impl IsaVisitor for Scan<'_> {
        type Output = bool;
        fn visit<I: Isa>(self, isa: I) -> bool {
            isa.enter(
                #[inline(always)]
                || scan(isa, self.0, self.1),
            )
        }
    }
    maxima.clear();
    maxima.resize(values.len().div_ceil(BLOCK_LEN), f32::NEG_INFINITY);
    IsaKind::best().dispatch(Scan(values, maxima))
}

/// One pass over `values`; `maxima` holds `-inf` before.
#[inline(always)]
pub(crate) fn scan<I: Isa>(isa: I, values: &[f32], maxima: &mut [f32]) -> bool {
    const N_VECTORS: usize = BLOCK_LEN / LANES;
    let (blocks, rest) = values.as_chunks::<BLOCK_LEN>();
    let lowest = isa.splat(f32::NEG_INFINITY);
    // x - x is 0 if x is finite, else NaN. One chain for each vector of a block.
    let mut differences = [isa.splat(0.0); N_VECTORS];
    for (block, max) in blocks.iter().zip(&mut *maxima) {
        let mut largest = lowest;
        for (vector, difference) in block.as_chunks::<LANES>().0.iter().zip(&mut differences) {
            let v = isa.load(vector);
            // In this order of operands NaN loses.
            largest = isa.max(v, largest);
            *difference = isa.add(*difference, isa.sub(v, v));
        }
        *max = isa.reduce_max(largest);
    }
    if let Some(max) = maxima.get_mut(blocks.len()) {
        *max = rest.iter().fold(*max, |max, &value| if value > max { value } else { max });
    }
    let is_finite = differences.into_iter().all(
        #[inline(always)]
        |difference| isa.reduce_sum(difference) == 0.0,
    );
    is_finite && rest.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every instruction set of this machine.
    fn check(values: &[f32]) -> (bool, Vec<f32>) {
        let largest = |block: &[f32]| block.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
        let expected: Vec<f32> = values.chunks(BLOCK_LEN).map(largest).collect();
        let is_finite = values.iter().all(|value| value.is_finite());
        for kind in IsaKind::available() {
            struct Scan<'a>(&'a [f32], &'a mut [f32]);
            impl IsaVisitor for Scan<'_> {
                type Output = bool;
                fn visit<I: Isa>(self, isa: I) -> bool {
                    scan(isa, self.0, self.1)
                }
            }
            let mut maxima = vec![f32::NEG_INFINITY; expected.len()];
            assert_eq!(kind.dispatch(Scan(values, &mut maxima)), is_finite, "{kind}");
            assert_eq!(maxima, expected, "{kind}");
        }
        let mut maxima = vec![7.0; 3];
        assert_eq!(block_maxima(values, &mut maxima), is_finite);
        assert_eq!(maxima, expected);
        (is_finite, maxima)
    }

    #[test]
    fn every_position_is_seen() {
        for len in [0, 1, 15, 63, 64, 65, 200] {
            assert!(check(&vec![f32::MIN; len]).0);
            for index in 0..len {
                for (value, is_finite) in
                    [(f32::MAX, true), (f32::NAN, false), (f32::INFINITY, false), (f32::NEG_INFINITY, false)]
                {
                    let mut values = vec![f32::MIN; len];
                    values[index] = value;
                    assert_eq!(check(&values).0, is_finite, "{value} at {index} of {len}");
                }
            }
        }
    }

    #[test]
    fn nan_is_ignored() {
        let mut values = vec![f32::NAN; 130];
        values[70] = -3.0;
        values[129] = 2.0;
        assert_eq!(check(&values), (false, vec![f32::NEG_INFINITY, -3.0, 2.0]));
    }
}
