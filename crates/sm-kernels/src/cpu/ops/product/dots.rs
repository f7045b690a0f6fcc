//! Exact integer dots of a group of columns, by what is quickest on the instruction set.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use super::quantized::Weights;
use crate::cpu::activations::int8::Int8Block;
use crate::cpu::formats::{CodeKind, UNIT_QUADS};
use crate::cpu::isa::Isa;

/// A unit of some panels, and the blocks of `R` rows that it is multiplied with.
pub(super) struct Unit<'a, I, W, const R: usize> {
    pub(super) isa: I,
    pub(super) weights: &'a W,
    pub(super) index: usize,
    pub(super) x: [&'a Int8Block; R],
}

/// Quads whose products are added in 16 bits before they are in 32; 0 where they are added in 32 at once.
const fn shorts<I: Isa, K: CodeKind>() -> usize {
    if I::HAS_QUICK_SHORTS { short_quads(K::BITS) } else { 0 }
}

/// Quads whose products may be added in 16 bits: two in a half of a lane, each at most 127 times the largest code.
const fn short_quads(bits: u32) -> usize {
    i16::MAX as usize / (2 * 127 * ((1 << bits) - 1))
}

impl<I: Isa, W: Weights<I>, const R: usize> Unit<'_, I, W, R> {
    /// Quads of a group.
    const N_QUADS: usize = UNIT_QUADS / W::Kind::GROUPS;

    /// Adds the scaled dots of a group.
    #[inline(always)]
    pub(super) fn add<const P: usize>(&self, group: usize, acc: &mut [[I::F32; P]; R]) {
        let mut dots = self.start(group);
        match shorts::<I, W::Kind>() {
            0 => self.add_bytes(group, &mut dots),
            2 => self.add_pairs(group, &mut dots),
            _ => self.add_shorts(group, &mut dots),
        }
        self.finish(group, &dots, acc);
    }

    /// The dots of a group before its first quad: an offset that products leave in the codes, a power of two, is taken out
    /// here.
    #[inline(always)]
    fn start<const P: usize>(&self, group: usize) -> [[I::I32; P]; R] {
        let taken_off = if W::Kind::BITS == 8 { I::DOT_OFFSET } else { 0 };
        let offset = self.weights.offset() - taken_off;
        let mut start = [[self.isa.splat_i32(0); P]; R];
        if offset != 0 {
            for r in 0..R {
                let neg_sum = self.isa.splat_i32(self.neg_sum(group, r));
                start[r] = [self.isa.shl_i32(neg_sum, offset.trailing_zeros()); P];
            }
        }
        start
    }

    /// Runs `f` for every quad of a group, with its place in the order: quads whose codes of 4 bits share a byte follow each
    /// other. Each call is compiled by itself, which a loop does not promise.
    #[inline(always)]
    fn each_quad(group: usize, mut f: impl FnMut(usize, usize)) {
        let first = group * Self::N_QUADS;
        let half = if W::Kind::GROUPS == 1 { UNIT_QUADS / 2 } else { 0 };
        if half == 0 {
            f(0, first);
            f(1, first + 1);
            f(2, first + 2);
            f(3, first + 3);
        } else {
            f(0, 0);
            f(1, half);
            f(2, 1);
            f(3, half + 1);
            f(4, 2);
            f(5, half + 2);
            f(6, 3);
            f(7, half + 3);
        }
    }

    /// The sum of the codes of a group of a row, negated.
    #[inline(always)]
    fn neg_sum(&self, group: usize, r: usize) -> i32 {
        if W::Kind::GROUPS == 1 { self.x[r].neg_sum } else { self.x[r].neg_sums[group] }
    }

    /// The same times the row's scale.
    #[inline(always)]
    fn neg_total(&self, group: usize, r: usize) -> I::F32 {
        if W::Kind::GROUPS == 1 {
            return self.isa.splat(self.x[r].neg_total);
        }
        self.isa.splat(self.neg_sum(group, r) as f32 * self.x[r].scale)
    }

    /// The codes of a quad of all panels.
    #[inline(always)]
    fn codes<const P: usize>(&self, quad: usize) -> [I::Bytes; P] {
        let mut codes = [self.weights.codes(self.isa, 0, self.index, quad); P];
        for p in 1..P {
            codes[p] = self.weights.codes(self.isa, p, self.index, quad);
        }
        codes
    }

    #[inline(always)]
    fn add_bytes<const P: usize>(&self, group: usize, dots: &mut [[I::I32; P]; R]) {
        let isa = self.isa;
        Self::each_quad(
            group,
            #[inline(always)]
            |_, quad| {
                let codes: [_; P] = self.codes(quad);
                for r in 0..R {
                    let x = isa.splat_quad(self.x[r].quads[quad]);
                    for p in 0..P {
                        dots[r][p] = if W::Kind::BITS == 8 {
                            isa.dot(dots[r][p], codes[p], x)
                        } else {
                            isa.dot_7bit(dots[r][p], codes[p], x)
                        };
                    }
                }
            },
        );
    }

    #[inline(always)]
    fn add_shorts<const P: usize>(&self, group: usize, dots: &mut [[I::I32; P]; R]) {
        let isa = self.isa;
        let n_short = const { short_quads(W::Kind::BITS) };
        let zero = isa.load_bytes(&[0; 64]);
        let mut shorts = [[zero; P]; R];
        Self::each_quad(
            group,
            #[inline(always)]
            |place, quad| {
                let codes: [_; P] = self.codes(quad);
                for r in 0..R {
                    let x = isa.splat_quad(self.x[r].quads[quad]);
                    for p in 0..P {
                        shorts[r][p] = isa.dot_short(shorts[r][p], codes[p], x);
                    }
                }
                if (place + 1) % n_short == 0 || place + 1 == Self::N_QUADS {
                    for r in 0..R {
                        for p in 0..P {
                            dots[r][p] = isa.add_halves(dots[r][p], shorts[r][p]);
                            shorts[r][p] = zero;
                        }
                    }
                }
            },
        );
    }

    /// As [`Unit::add_shorts`] where only two quads fit 16 bits: their sums are needed but for a moment.
    #[inline(always)]
    fn add_pairs<const P: usize>(&self, group: usize, dots: &mut [[I::I32; P]; R]) {
        let isa = self.isa;
        let zero = isa.load_bytes(&[0; 64]);
        let mut first = 0;
        Self::each_quad(
            group,
            #[inline(always)]
            |place, quad| {
                if place % 2 == 0 {
                    first = quad;
                    return;
                }
                let codes: [[_; P]; 2] = [self.codes(first), self.codes(quad)];
                for r in 0..R {
                    let x = [first, quad].map(
                        #[inline(always)]
                        |quad| isa.splat_quad(self.x[r].quads[quad]),
                    );
                    for p in 0..P {
                        let shorts = isa.dot_short(isa.dot_short(zero, codes[0][p], x[0]), codes[1][p], x[1]);
                        dots[r][p] = isa.add_halves(dots[r][p], shorts);
                    }
                }
            },
        );
    }

    /// Scales the dots of a group and adds them up.
    #[inline(always)]
    fn finish<const P: usize>(&self, group: usize, dots: &[[I::I32; P]; R], acc: &mut [[I::F32; P]; R]) {
        let isa = self.isa;
        for p in 0..P {
            let scales = self.weights.scales(isa, p, self.index, group);
            for r in 0..R {
                let scales = isa.mul(scales, isa.splat(self.x[r].scale));
                acc[r][p] = isa.mul_add(isa.to_f32(dots[r][p]), scales, acc[r][p]);
            }
            if W::Kind::HAS_MIN {
                let mins = self.weights.mins(isa, p, self.index, group);
                for r in 0..R {
                    acc[r][p] = isa.mul_add(mins, self.neg_total(group, r), acc[r][p]);
                }
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
