//! Exact integer dots of a group of columns, by what is quickest on the instruction set.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::hint::black_box;

use super::quantized::Weights;
use crate::formats::{CodeKind, UNIT_QUADS};
use crate::isa::Isa;
use crate::ops::encode::Int8Block;

/// Half of a unit's quads: within it, codes are found by the same shifts.
const HALF_QUADS: usize = UNIT_QUADS / 2;

/// A unit of some panels, and the blocks of `R` rows that it is multiplied with.
pub(super) struct Unit<'a, I, W, const R: usize> {
    pub(super) isa: I,
    pub(super) weights: &'a W,
    pub(super) index: usize,
    pub(super) x: [&'a Int8Block; R],
}

/// Whether dots are sums of 16 bits, as long as those fit, and not of 32.
const fn by_shorts<I: Isa, K: CodeKind>() -> bool {
    I::HAS_QUICK_SHORTS && short_quads(K::BITS) > 0
}

/// Quads whose products may be added in 16 bits: two in a half of a lane, each at most 127 times the largest code.
const fn short_quads(bits: u32) -> usize {
    i16::MAX as usize / (2 * 127 * ((1 << bits) - 1))
}

impl<I: Isa, W: Weights<I>, const R: usize> Unit<'_, I, W, R> {
    /// The dots of a group before its first quad: an offset that products leave in the codes is taken out here.
    #[inline(always)]
    pub(super) fn start(&self, group: usize) -> [I::I32; R] {
        let taken_off = if W::Kind::BITS == 8 { I::DOT_OFFSET } else { 0 };
        let offset = self.weights.offset() - taken_off;
        let mut start = [self.isa.splat_i32(0); R];
        if offset != 0 {
            for r in 0..R {
                start[r] = self.isa.splat_i32(-offset * self.sum(group, r));
            }
        }
        start
    }

    /// Adds the scaled dots of a group with `N` panels.
    #[inline(always)]
    pub(super) fn add<const N: usize, const P: usize>(
        &self,
        (group, panel): (usize, usize),
        start: &[I::I32; R],
        acc: &mut [[I::F32; P]; R],
    ) {
        let mut dots = [[start[0]; N]; R];
        for r in 1..R {
            dots[r] = [start[r]; N];
        }
        if by_shorts::<I, W::Kind>() {
            self.add_shorts((group, panel), &mut dots);
        } else {
            self.add_bytes((group, panel), &mut dots);
        }
        self.finish((group, panel), &dots, acc);
    }

    /// The first quad of a group, and how many it has.
    #[inline(always)]
    fn quads(group: usize) -> (usize, usize) {
        let n = UNIT_QUADS / W::Kind::GROUPS;
        (group * n, n)
    }

    /// The sum of the codes of a group of a row.
    #[inline(always)]
    fn sum(&self, group: usize, r: usize) -> i32 {
        let sums = self.x[r].sums;
        if W::Kind::GROUPS == 1 { i32::from(sums[0]) + i32::from(sums[1]) } else { i32::from(sums[group]) }
    }

    /// The codes of `N` panels from `panel` on.
    #[inline(always)]
    fn codes<const N: usize>(&self, panel: usize, quad: usize) -> [I::Bytes; N] {
        let mut codes = [self.weights.codes(self.isa, panel, self.index, quad); N];
        for n in 1..N {
            codes[n] = self.weights.codes(self.isa, panel + n, self.index, quad);
        }
        codes
    }

    #[inline(always)]
    fn add_bytes<const N: usize>(&self, (group, panel): (usize, usize), dots: &mut [[I::I32; N]; R]) {
        let isa = self.isa;
        for_each::<I, R>(
            Self::quads(group),
            #[inline(always)]
            |quad| {
                let codes: [_; N] = self.codes(panel, quad);
                for r in 0..R {
                    let x = isa.splat_quad(self.x[r].quads[quad]);
                    for n in 0..N {
                        dots[r][n] = if W::Kind::BITS == 8 {
                            isa.dot(dots[r][n], codes[n], x)
                        } else {
                            isa.dot_7bit(dots[r][n], codes[n], x)
                        };
                    }
                }
            },
        );
    }

    #[inline(always)]
    fn add_shorts<const N: usize>(&self, (group, panel): (usize, usize), dots: &mut [[I::I32; N]; R]) {
        let isa = self.isa;
        let (first, n_quads) = Self::quads(group);
        let n_short = n_quads.min(const { short_quads(W::Kind::BITS) });
        let zero = isa.load_bytes(&[0; 64]);
        for first in (first..first + n_quads).step_by(n_short) {
            let mut shorts = [[zero; N]; R];
            for_each::<I, R>(
                (first, n_short),
                #[inline(always)]
                |quad| {
                    let codes: [_; N] = self.codes(panel, quad);
                    for r in 0..R {
                        let x = isa.splat_quad(self.x[r].quads[quad]);
                        for n in 0..N {
                            shorts[r][n] = isa.dot_short(shorts[r][n], codes[n], x);
                        }
                    }
                },
            );
            for r in 0..R {
                for n in 0..N {
                    dots[r][n] = isa.add_halves(dots[r][n], shorts[r][n]);
                }
            }
        }
    }

    /// Scales the dots of a group and adds them up.
    #[inline(always)]
    fn finish<const N: usize, const P: usize>(
        &self,
        (group, panel): (usize, usize),
        dots: &[[I::I32; N]; R],
        acc: &mut [[I::F32; P]; R],
    ) {
        let isa = self.isa;
        for n in 0..N {
            let p = panel + n;
            let scales = self.weights.scales(isa, p, self.index, group);
            for r in 0..R {
                let scales = isa.mul(scales, isa.splat(self.x[r].scale));
                acc[r][p] = isa.mul_add(isa.to_f32(dots[r][n]), scales, acc[r][p]);
            }
            if W::Kind::HAS_MIN {
                let mins = self.weights.mins(isa, p, self.index, group);
                for r in 0..R {
                    let total = isa.splat(self.x[r].scale * self.sum(group, r) as f32);
                    acc[r][p] = isa.neg_mul_add(mins, total, acc[r][p]);
                }
            }
        }
    }
}

/// Runs `f` for `n` quads from `first` on, all of one half of a unit or whole halves.
#[inline(always)]
fn for_each<I: Isa, const R: usize>((first, n): (usize, usize), mut f: impl FnMut(usize)) {
    if I::MANY_REGISTERS || R == 1 || n <= 2 {
        for quad in first..first + n {
            f(quad);
        }
    } else {
        for half in (first..first + n).step_by(HALF_QUADS) {
            // A loop of unknown length: unrolled, everything is loaded ahead, and most of it spilled. That a quad is of
            // this half, the remainder says.
            for quad in 0..black_box(n.min(HALF_QUADS)) {
                f(half + quad % HALF_QUADS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_quads_are_added_in_16_bits_as_fit() {
        for bits in 1..=7 {
            let largest_product = 127 * ((1 << bits) - 1);
            let n_quads = short_quads(bits);
            assert!(2 * n_quads * largest_product <= 32_767, "{bits} bits");
            assert!(2 * (n_quads + 1) * largest_product > 32_767, "{bits} bits");
        }
        assert_eq!([2, 4, 5, 6].map(short_quads), [43, 8, 4, 2]);
    }
}
