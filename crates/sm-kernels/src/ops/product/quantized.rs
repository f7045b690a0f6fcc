//! Products with quantized weights: exact integer dots of groups, scaled and added in order.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::hint::black_box;

use super::{Lanes, Multiply};
use crate::formats::{CodeKind, QuantFormat, UNIT_LEN, UNIT_QUADS};
use crate::isa::Isa;
use crate::ops::encode::Int8Block;

/// How far ahead panels are asked for, in bytes.
const PREFETCH_BYTES: usize = 4096;

/// Where a tile finds its weights: `P` panels.
pub(super) trait Weights<I: Isa, const P: usize> {
    /// What the product has to do.
    type Kind: CodeKind;
    /// What is subtracted from every code.
    fn offset(&self) -> i32;
    /// As [`QuantFormat::codes`].
    fn codes(&self, isa: I, panel: usize, unit: usize, quad: usize) -> I::Bytes;
    /// As [`QuantFormat::scales`].
    fn scales(&self, isa: I, panel: usize, unit: usize, group: usize) -> I::F32;
    /// As [`QuantFormat::mins`].
    fn mins(&self, isa: I, panel: usize, unit: usize, group: usize) -> I::F32;
    /// Asks for what a later unit needs.
    fn prefetch(&self, isa: I, unit: usize);
}

/// Panels as they are packed.
pub(super) struct Packed<'a, F: QuantFormat, const P: usize> {
    blocks: [&'a [F::Block]; P],
}

impl<I: Isa, F: QuantFormat, const P: usize> Weights<I, P> for Packed<'_, F, P> {
    type Kind = F::Kind;

    #[inline(always)]
    fn offset(&self) -> i32 {
        F::OFFSET
    }
    #[inline(always)]
    fn codes(&self, isa: I, panel: usize, unit: usize, quad: usize) -> I::Bytes {
        F::codes(isa, &self.blocks[panel][unit / F::UNITS], unit % F::UNITS, quad)
    }
    #[inline(always)]
    fn scales(&self, isa: I, panel: usize, unit: usize, group: usize) -> I::F32 {
        F::scales(isa, &self.blocks[panel][unit / F::UNITS], unit % F::UNITS, group)
    }
    #[inline(always)]
    fn mins(&self, isa: I, panel: usize, unit: usize, group: usize) -> I::F32 {
        F::mins(isa, &self.blocks[panel][unit / F::UNITS], unit % F::UNITS, group)
    }
    #[inline(always)]
    fn prefetch(&self, isa: I, unit: usize) {
        let unit_bytes = size_of::<F::Block>() / F::UNITS;
        for blocks in &self.blocks {
            let unit = blocks.as_ptr().wrapping_byte_add(unit * unit_bytes + PREFETCH_BYTES);
            for line in 0..unit_bytes.div_ceil(64) {
                isa.prefetch(unit.wrapping_byte_add(line * 64));
            }
        }
    }
}

/// Multiplies a few rows with all panels.
pub(super) fn multiply<I: Isa, F: QuantFormat>(mut args: Multiply<'_, I>) {
    args.isa.enter(
        #[inline(always)]
        || {
            for panel in 0..args.panels.len() {
                let mut row = 0;
                if I::MANY_REGISTERS {
                    sweep::<I, F, 8>(&mut args, panel, &mut row);
                    sweep::<I, F, 4>(&mut args, panel, &mut row);
                }
                sweep::<I, F, 2>(&mut args, panel, &mut row);
                sweep::<I, F, 1>(&mut args, panel, &mut row);
            }
        },
    );
}

/// Multiplies rows from `row` on, `R` at a time, as far as that goes.
#[inline(always)]
fn sweep<I: Isa, F: QuantFormat, const R: usize>(args: &mut Multiply<'_, I>, panel: usize, row: &mut usize) {
    let weights: Packed<'_, F, 1> = Packed { blocks: [args.panels.blocks::<F>(panel)] };
    while *row + R <= args.rows.len() {
        let mut x: [&[Int8Block]; R] = [&[]; R];
        for (r, x) in x.iter_mut().enumerate() {
            *x = args.input.int8_row(args.rows.start + *row + r, args.panels.cols);
        }
        let n_units = args.panels.cols / UNIT_LEN;
        tile(args.isa, &weights, (x, n_units), (*row, panel, &mut args.lanes));
        *row += R;
    }
}

/// Multiplies `R` rows with `P` panels and stores the results at `(row, panel, lanes)`.
#[inline(always)]
pub(super) fn tile<I: Isa, W: Weights<I, P>, const R: usize, const P: usize>(
    isa: I,
    weights: &W,
    (x, n_units): ([&[Int8Block]; R], usize),
    (row, panel, lanes): (usize, usize, &mut Lanes<'_>),
) {
    const { assert!(W::Kind::GROUPS == 1 || W::Kind::GROUPS == 2, "a unit has one group or two") }
    let mut x = x;
    for x in &mut x {
        *x = &x[..n_units];
    }
    let mut acc = [[isa.splat(0.0); P]; R];
    for unit in 0..n_units {
        weights.prefetch(isa, unit);
        let mut group = Group { isa, weights, unit, x: [&x[0][unit]; R] };
        for r in 1..R {
            group.x[r] = &x[r][unit];
        }
        let mut dots = group.start(0);
        group.quads(0, &mut dots);
        if W::Kind::GROUPS == 2 {
            group.finish(0, &dots, &mut acc);
            dots = group.start(1);
        }
        group.quads(UNIT_QUADS / 2, &mut dots);
        group.finish(W::Kind::GROUPS - 1, &dots, &mut acc);
    }
    for r in 0..R {
        for p in 0..P {
            lanes.store(isa, row + r, panel + p, acc[r][p]);
        }
    }
}

/// What a tile computes with in one unit.
struct Group<'a, I, W, const R: usize> {
    isa: I,
    weights: &'a W,
    unit: usize,
    x: [&'a Int8Block; R],
}

impl<I: Isa, W, const R: usize> Group<'_, I, W, R> {
    /// The sum of the codes of a group of a row.
    #[inline(always)]
    fn sum<const P: usize>(&self, group: usize, r: usize) -> i32
    where
        W: Weights<I, P>,
    {
        let sums = self.x[r].sums;
        if W::Kind::GROUPS == 1 { i32::from(sums[0]) + i32::from(sums[1]) } else { i32::from(sums[group]) }
    }

    /// The dots before the first quad of a group: of the offset times the sum of the row's codes, what products leave is
    /// taken out here.
    #[inline(always)]
    fn start<const P: usize>(&self, group: usize) -> [[I::I32; P]; R]
    where
        W: Weights<I, P>,
    {
        let mut dots = [[self.isa.splat_i32(0); P]; R];
        let offset = self.weights.offset() - if W::Kind::WIDE { I::DOT_OFFSET } else { 0 };
        if offset != 0 {
            for r in 0..R {
                dots[r] = [self.isa.splat_i32(-offset * self.sum(group, r)); P];
            }
        }
        dots
    }

    /// Adds the products of half a unit.
    #[inline(always)]
    fn quads<const P: usize>(&self, first: usize, dots: &mut [[I::I32; P]; R])
    where
        W: Weights<I, P>,
    {
        if I::MANY_REGISTERS {
            self.quad(first, dots);
            self.quad(first + 1, dots);
            self.quad(first + 2, dots);
            self.quad(first + 3, dots);
        } else {
            // A loop of unknown length: unrolled, everything is loaded ahead, and most of it spilled.
            for quad in first..first + black_box(UNIT_QUADS / 2) {
                self.quad(quad % UNIT_QUADS, dots);
            }
        }
    }

    #[inline(always)]
    fn quad<const P: usize>(&self, quad: usize, dots: &mut [[I::I32; P]; R])
    where
        W: Weights<I, P>,
    {
        let mut codes = [self.weights.codes(self.isa, 0, self.unit, quad); P];
        for p in 1..P {
            codes[p] = self.weights.codes(self.isa, p, self.unit, quad);
        }
        for r in 0..R {
            let x = self.isa.splat_quad(self.x[r].quads[quad]);
            for p in 0..P {
                dots[r][p] = if W::Kind::WIDE {
                    self.isa.dot(dots[r][p], codes[p], x)
                } else {
                    self.isa.dot_7bit(dots[r][p], codes[p], x)
                };
            }
        }
    }

    /// Scales the dots of a group and adds them up.
    #[inline(always)]
    fn finish<const P: usize>(&self, group: usize, dots: &[[I::I32; P]; R], acc: &mut [[I::F32; P]; R])
    where
        W: Weights<I, P>,
    {
        let isa = self.isa;
        for p in 0..P {
            let scales = self.weights.scales(isa, p, self.unit, group);
            for r in 0..R {
                let scales = isa.mul(scales, isa.splat(self.x[r].scale));
                acc[r][p] = isa.mul_add(isa.to_f32(dots[r][p]), scales, acc[r][p]);
            }
            if W::Kind::HAS_MIN {
                let mins = self.weights.mins(isa, p, self.unit, group);
                for r in 0..R {
                    let total = isa.splat(self.x[r].scale * self.sum(group, r) as f32);
                    acc[r][p] = isa.neg_mul_add(mins, total, acc[r][p]);
                }
            }
        }
    }
}
