//! Products with quantized weights as they are packed: one panel at a time, up to 8 rows against it.
//!
//! ```text
//! for each panel                                 16 outputs
//!   for each tile of R rows                      8, 4, 2, 1; from 4 down on AVX2
//!     for each segment of 32 columns             prefetch; dots of R rows; scale; add
//! ```
//!
//! With few rows the bound is memory: every byte of a panel is read once from it and the tile's other rows find it in cache.
//! Codes are unpacked in registers, in every tile anew.
//!
//! Panels are prefetched in two levels, [`L2_BYTES`] ahead into L2 and [`L1_BYTES`] ahead into L1. Over prefetching into L2
//! alone that gained one row 5 % (Q4_0) to 50 % (Q6_K). Prefetching only for the first tile of rows gained nothing.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use super::dots::{SegmentDot, TileWeights};
use super::panel::PanelProduct;
use super::strip::TileOut;
use crate::cpu::activations::int8::Int8Block;
use crate::cpu::formats::{CodeKind, QuantFormat, SEGMENT_LEN};
use crate::cpu::isa::Isa;

/// Prefetch distance into L2, in bytes.
const L2_BYTES: usize = 8192;
/// Prefetch distance into L1, in bytes.
const L1_BYTES: usize = 2048;

/// Panels as they are packed.
pub(super) struct PackedPanels<'a, F: QuantFormat, const P: usize> {
    blocks: [&'a [F::Block]; P],
}

impl<I: Isa, F: QuantFormat, const P: usize> TileWeights<I> for PackedPanels<'_, F, P> {
    type Kind = F::Kind;

    #[inline(always)]
    fn offset(&self) -> i32 {
        F::OFFSET
    }
    #[inline(always)]
    fn codes(&self, isa: I, panel: usize, segment: usize, quad: usize) -> I::Bytes {
        F::codes(isa, &self.blocks[panel][segment / F::SEGMENTS], segment % F::SEGMENTS, quad)
    }
    #[inline(always)]
    fn scales(&self, isa: I, panel: usize, segment: usize, group: usize) -> I::F32 {
        F::scales(isa, &self.blocks[panel][segment / F::SEGMENTS], segment % F::SEGMENTS, group)
    }
    #[inline(always)]
    fn mins(&self, isa: I, panel: usize, segment: usize, group: usize) -> I::F32 {
        F::mins(isa, &self.blocks[panel][segment / F::SEGMENTS], segment % F::SEGMENTS, group)
    }
    #[inline(always)]
    fn prefetch(&self, isa: I, segment: usize) {
        let segment_bytes = size_of::<F::Block>() / F::SEGMENTS;
        for blocks in &self.blocks {
            let segment = blocks.as_ptr().wrapping_byte_add(segment * segment_bytes);
            for line in 0..segment_bytes.div_ceil(64) {
                let line = segment.wrapping_byte_add(line * 64);
                isa.prefetch_l2(line.wrapping_byte_add(L2_BYTES));
                isa.prefetch_l1(line.wrapping_byte_add(L1_BYTES));
            }
        }
    }
}

/// Multiplies some rows with all panels.
pub(super) fn multiply<I: Isa, F: QuantFormat>(mut args: PanelProduct<'_, I>) {
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

/// Multiplies rows from `row` on, `R` at a time, while there are `R`.
#[inline(always)]
fn sweep<I: Isa, F: QuantFormat, const R: usize>(
    args: &mut PanelProduct<'_, I>,
    panel: usize,
    row: &mut usize,
) {
    let weights: PackedPanels<'_, F, 1> = PackedPanels { blocks: [args.panels.blocks::<F>(panel)] };
    while *row + R <= args.rows.len() {
        let mut x: [&[Int8Block]; R] = [&[]; R];
        for (r, x) in x.iter_mut().enumerate() {
            *x = args.input.int8_row(args.rows.start + *row + r, args.panels.cols);
        }
        let n_segments = args.panels.cols / SEGMENT_LEN;
        tile::<I, _, R, 1>(args.isa, &weights, x, n_segments, *row, panel, &mut args.out);
        *row += R;
    }
}

/// Multiplies `R` rows with `P` panels and stores the results from row `row` and panel `panel` of `out` on.
#[inline(always)]
pub(super) fn tile<I: Isa, W: TileWeights<I>, const R: usize, const P: usize>(
    isa: I,
    weights: &W,
    mut x: [&[Int8Block]; R],
    n_segments: usize,
    row: usize,
    panel: usize,
    out: &mut TileOut<'_>,
) {
    const { assert!(W::Kind::GROUPS == 1 || W::Kind::GROUPS == 2, "a segment has one group or two") }
    for x in &mut x {
        *x = &x[..n_segments];
    }
    let mut acc = [[isa.splat(0.0); P]; R];
    for segment in 0..n_segments {
        weights.prefetch(isa, segment);
        let mut blocks = [&x[0][segment]; R];
        for r in 1..R {
            blocks[r] = &x[r][segment];
        }
        let dot = SegmentDot { isa, weights, segment, x: blocks };
        // Unrolled by hand, as the quads are.
        dot.add(0, &mut acc);
        if W::Kind::GROUPS == 2 {
            dot.add(1, &mut acc);
        }
    }
    for r in 0..R {
        for p in 0..P {
            out.store(isa, row + r, panel + p, acc[r][p]);
        }
    }
}
