//! Products with quantized weights: exact integer dots of groups, scaled and added in order.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use super::dots::Unit;
use super::{Lanes, Multiply};
use crate::cpu::activations::int8::Int8Block;
use crate::cpu::formats::{CodeKind, QuantFormat, UNIT_LEN};
use crate::cpu::isa::Isa;

/// How far ahead panels are asked for in the second-level cache, in bytes.
const FAR_BYTES: usize = 8192;
/// How far ahead in the first-level cache.
const NEAR_BYTES: usize = 2048;

/// Where a tile finds its weights, a panel or more.
pub(super) trait Weights<I: Isa> {
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

impl<I: Isa, F: QuantFormat, const P: usize> Weights<I> for Packed<'_, F, P> {
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
            let unit = blocks.as_ptr().wrapping_byte_add(unit * unit_bytes);
            for line in 0..unit_bytes.div_ceil(64) {
                let line = unit.wrapping_byte_add(line * 64);
                isa.prefetch(line.wrapping_byte_add(FAR_BYTES));
                isa.prefetch_near(line.wrapping_byte_add(NEAR_BYTES));
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
                if I::TILE_ROWS >= 8 {
                    sweep::<I, F, 8>(&mut args, panel, &mut row);
                }
                if I::TILE_ROWS >= 4 {
                    sweep::<I, F, 4>(&mut args, panel, &mut row);
                    sweep::<I, F, 2>(&mut args, panel, &mut row);
                }
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
        tile::<I, _, R, 1>(args.isa, &weights, (x, n_units), (*row, panel, &mut args.lanes));
        *row += R;
    }
}

/// Multiplies `R` rows with `P` panels and stores the results at `(row, panel, lanes)`.
#[inline(always)]
pub(super) fn tile<I: Isa, W: Weights<I>, const R: usize, const P: usize>(
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
        let mut blocks = [&x[0][unit]; R];
        for r in 1..R {
            blocks[r] = &x[r][unit];
        }
        let unit = Unit { isa, weights, index: unit, x: blocks };
        // Each is compiled by itself, which a loop does not promise.
        unit.add(0, &mut acc);
        if W::Kind::GROUPS == 2 {
            unit.add(1, &mut acc);
        }
    }
    for r in 0..R {
        for p in 0..P {
            lanes.store(isa, row + r, panel + p, acc[r][p]);
        }
    }
}
