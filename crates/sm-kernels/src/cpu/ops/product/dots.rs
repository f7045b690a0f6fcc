//! Exact integer dots of a segment: codes of 16 outputs times int8 activations, then the scales.
//!
//! ```text
//! for each group of the segment:
//!     dot    = start + sum over quads of codes[quad] · x[quad]                i32 in each lane
//!     start  = -offset * sum(x)                                               a shift: offsets are powers of two
//!     acc    = fma(f32(dot), scale_w * scale_x, acc)
//!     acc    = fma(min_w, -(scale_x * sum(x)), acc)                           formats with minima
//! ```
//!
//! The sums of the activations come with [`Int8Block`]. While they were computed here, in every tile, 8 rows were up to 18 %
//! slower.
//!
//! Dots are added up in one of three ways, the same integers all of them:
//!
//! * `add_i32`: `vpdpbusd`, or its replacement, into 32 bits.
//! * `add_i16` (AVX2): as many quads in 16 bits as cannot overflow, 4 of 5 bits or 8 of 4 bits, then widened at once.
//! * `add_i16_by_two` (AVX2, 6 bits): where only two quads fit, their sum is widened at once instead of being kept across
//!   quads, for which there are no registers: kept, 42 of 196 instructions touched the stack.
//!
//! Quads are unrolled by hand, so that each is compiled by itself, which a loop does not promise.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use crate::cpu::activations::int8::Int8Block;
use crate::cpu::formats::{CodeKind, SEGMENT_QUADS};
use crate::cpu::isa::Isa;

/// The weights of a tile: one panel or more, packed or unpacked.
pub(super) trait TileWeights<I: Isa> {
    /// Terms of the product.
    type Kind: CodeKind;
    /// Subtracted from every code.
    fn offset(&self) -> i32;
    /// As [`QuantFormat::codes`](crate::cpu::formats::QuantFormat::codes).
    fn codes(&self, isa: I, panel: usize, segment: usize, quad: usize) -> I::Bytes;
    /// As [`QuantFormat::scales`](crate::cpu::formats::QuantFormat::scales).
    fn scales(&self, isa: I, panel: usize, segment: usize, group: usize) -> I::F32;
    /// As [`QuantFormat::mins`](crate::cpu::formats::QuantFormat::mins).
    fn mins(&self, isa: I, panel: usize, segment: usize, group: usize) -> I::F32;
    /// Prefetches what a later segment needs.
    fn prefetch(&self, isa: I, segment: usize);
}

/// A segment of some panels, and the activations of `R` rows that it is multiplied with.
pub(super) struct SegmentDot<'a, I, W, const R: usize> {
    pub(super) isa: I,
    pub(super) weights: &'a W,
    pub(super) segment: usize,
    pub(super) x: [&'a Int8Block; R],
}

/// Quads whose products are added up in 16 bits before they are widened; 0 if they go to 32 bits at once.
const fn i16_quads<I: Isa, K: CodeKind>() -> usize {
    if I::PREFERS_I16_SUMS { max_i16_quads(K::BITS) } else { 0 }
}

/// Quads whose products fit 16 bits: two per half of a lane, each at most 127 times the largest code.
const fn max_i16_quads(bits: u32) -> usize {
    i16::MAX as usize / (2 * 127 * ((1 << bits) - 1))
}

impl<I: Isa, W: TileWeights<I>, const R: usize> SegmentDot<'_, I, W, R> {
    /// Quads of a group.
    const N_QUADS: usize = SEGMENT_QUADS / W::Kind::GROUPS;

    /// Adds the scaled dots of a group to the sums of a tile.
    #[inline(always)]
    pub(super) fn add<const P: usize>(&self, group: usize, acc: &mut [[I::F32; P]; R]) {
        let mut dots = self.start(group);
        match i16_quads::<I, W::Kind>() {
            0 => self.add_i32(group, &mut dots),
            2 => self.add_i16_by_two(group, &mut dots),
            _ => self.add_i16(group, &mut dots),
        }
        self.scale(group, &dots, acc);
    }

    /// The dots of a group before its first quad: minus the offset times the sum of the activations. [`Isa::dot`] may take
    /// off a part of the offset itself.
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

    /// Runs `f(place, quad)` for every quad of a group, unrolled. Quads that share vectors of 4-bit codes come one after the
    /// other.
    #[inline(always)]
    fn each_quad(group: usize, mut f: impl FnMut(usize, usize)) {
        let first = group * Self::N_QUADS;
        let half = if W::Kind::GROUPS == 1 { SEGMENT_QUADS / 2 } else { 0 };
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

    /// Minus the sum of the activation codes of a group of a row.
    #[inline(always)]
    fn neg_sum(&self, group: usize, r: usize) -> i32 {
        if W::Kind::GROUPS == 1 { self.x[r].neg_sum } else { self.x[r].neg_half_sums[group] }
    }

    /// The same, times the row's scale.
    #[inline(always)]
    fn neg_scaled_sum(&self, group: usize, r: usize) -> I::F32 {
        if W::Kind::GROUPS == 1 {
            return self.isa.splat(self.x[r].neg_scaled_sum);
        }
        self.isa.splat(self.neg_sum(group, r) as f32 * self.x[r].scale)
    }

    /// The codes of a quad of all panels.
    #[inline(always)]
    fn codes<const P: usize>(&self, quad: usize) -> [I::Bytes; P] {
        let mut codes = [self.weights.codes(self.isa, 0, self.segment, quad); P];
        for p in 1..P {
            codes[p] = self.weights.codes(self.isa, p, self.segment, quad);
        }
        codes
    }

    #[inline(always)]
    fn add_i32<const P: usize>(&self, group: usize, dots: &mut [[I::I32; P]; R]) {
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
    fn add_i16<const P: usize>(&self, group: usize, dots: &mut [[I::I32; P]; R]) {
        let isa = self.isa;
        let n_i16 = const { max_i16_quads(W::Kind::BITS) };
        let zero = isa.load_bytes(&[0; 64]);
        let mut i16_sums = [[zero; P]; R];
        Self::each_quad(
            group,
            #[inline(always)]
            |place, quad| {
                let codes: [_; P] = self.codes(quad);
                for r in 0..R {
                    let x = isa.splat_quad(self.x[r].quads[quad]);
                    for p in 0..P {
                        i16_sums[r][p] = isa.dot_i16(i16_sums[r][p], codes[p], x);
                    }
                }
                if (place + 1) % n_i16 == 0 || place + 1 == Self::N_QUADS {
                    for r in 0..R {
                        for p in 0..P {
                            dots[r][p] = isa.add_i16_halves(dots[r][p], i16_sums[r][p]);
                            i16_sums[r][p] = zero;
                        }
                    }
                }
            },
        );
    }

    /// As [`SegmentDot::add_i16`] where only two quads fit 16 bits.
    #[inline(always)]
    fn add_i16_by_two<const P: usize>(&self, group: usize, dots: &mut [[I::I32; P]; R]) {
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
                        let sum = isa.dot_i16(isa.dot_i16(zero, codes[0][p], x[0]), codes[1][p], x[1]);
                        dots[r][p] = isa.add_i16_halves(dots[r][p], sum);
                    }
                }
            },
        );
    }

    /// Scales the dots of a group and adds them up.
    #[inline(always)]
    fn scale<const P: usize>(&self, group: usize, dots: &[[I::I32; P]; R], acc: &mut [[I::F32; P]; R]) {
        let isa = self.isa;
        for p in 0..P {
            let scales = self.weights.scales(isa, p, self.segment, group);
            for r in 0..R {
                let scales = isa.mul(scales, isa.splat(self.x[r].scale));
                acc[r][p] = isa.mul_add(isa.to_f32(dots[r][p]), scales, acc[r][p]);
            }
            if W::Kind::HAS_MIN {
                let mins = self.weights.mins(isa, p, self.segment, group);
                for r in 0..R {
                    acc[r][p] = isa.mul_add(mins, self.neg_scaled_sum(group, r), acc[r][p]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i16_sums_hold_as_many_quads_as_fit() {
        for bits in 1..=7 {
            let largest_product = 127 * ((1 << bits) - 1);
            let n_quads = max_i16_quads(bits);
            assert!(2 * n_quads * largest_product <= 32_767, "{bits} bits");
            assert!(2 * (n_quads + 1) * largest_product > 32_767, "{bits} bits");
        }
        assert_eq!([2, 4, 5, 6].map(max_i16_quads), [43, 8, 4, 2]);
    }
}
