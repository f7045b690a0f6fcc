//! Products with float weights, widened in registers.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use super::Multiply;
use crate::formats::FloatFormat;
use crate::isa::{Isa, LANES};

/// How far ahead panels are asked for, in bytes.
const PREFETCH_BYTES: usize = 4096;

/// Multiplies all rows with all panels, two panels at a time.
pub(super) fn multiply<I: Isa, F: FloatFormat>(mut args: Multiply<'_, I>) {
    args.isa.enter(
        #[inline(always)]
        || {
            for panel in (0..args.panels.len()).step_by(2) {
                let mut row = 0;
                while row < args.rows.len() {
                    match tile_rows::<I>(args.rows.len() - row) {
                        8 => pair::<I, F, 8>(&mut args, panel, &mut row),
                        6 => pair::<I, F, 6>(&mut args, panel, &mut row),
                        4 => pair::<I, F, 4>(&mut args, panel, &mut row),
                        3 => pair::<I, F, 3>(&mut args, panel, &mut row),
                        2 => pair::<I, F, 2>(&mut args, panel, &mut row),
                        _ => pair::<I, F, 1>(&mut args, panel, &mut row),
                    }
                }
            }
        },
    );
}

/// Rows of the next tile where `n_rows` are left: the fewer tiles the better, and of equal size.
const fn tile_rows<I: Isa>(n_rows: usize) -> usize {
    match (I::TILE_ROWS, n_rows) {
        (8, 8..) => 8,
        (4, 6 | 9..) => 6,
        (8, 4..) | (4, 4 | 7 | 8) => 4,
        (4, 3 | 5) => 3,
        (4 | 8, 2 | 3) => 2,
        _ => 1,
    }
}

/// Multiplies the next `R` rows with a panel and the one after, if there is one.
#[inline(always)]
fn pair<I: Isa, F: FloatFormat, const R: usize>(args: &mut Multiply<'_, I>, panel: usize, row: &mut usize) {
    let is_pair = panel + 1 < args.panels.len();
    if is_pair && (I::MANY_REGISTERS || R <= 2) {
        tile::<I, F, R, 2>(args, panel, *row);
    } else {
        tile::<I, F, R, 1>(args, panel, *row);
        if is_pair {
            tile::<I, F, R, 1>(args, panel + 1, *row);
        }
    }
    *row += R;
}

/// Multiplies `R` rows with `P` panels.
#[inline(always)]
fn tile<I: Isa, F: FloatFormat, const R: usize, const P: usize>(
    args: &mut Multiply<'_, I>,
    panel: usize,
    row: usize,
) {
    let isa = args.isa;
    let cols = args.panels.cols;
    let mut x: [&[f32]; R] = [&[]; R];
    for (r, x) in x.iter_mut().enumerate() {
        *x = args.input.f32_row(args.rows.start + row + r, cols);
    }
    let mut w: [&[[F::Value; LANES]]; P] = [&[]; P];
    for (p, w) in w.iter_mut().enumerate() {
        *w = &args.panels.values::<F>(panel + p)[..cols];
    }
    // Later rows find the panels in a cache.
    let ahead = if args.rows.start + row == 0 { PREFETCH_BYTES } else { 0 };
    let mut acc = [[isa.splat(0.0); P]; R];
    for k in 0..cols {
        let mut weights = [isa.splat(0.0); P];
        for p in 0..P {
            isa.prefetch((&raw const w[p][k]).wrapping_byte_add(ahead));
            weights[p] = F::load(isa, &w[p][k]);
        }
        for r in 0..R {
            let x = isa.splat(x[r][k]);
            for p in 0..P {
                acc[r][p] = isa.mul_add(weights[p], x, acc[r][p]);
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            args.lanes.store(isa, row + r, panel + p, acc[r][p]);
        }
    }
}
