//! Products with float weights, widened in registers.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::marker::PhantomData;

use bytemuck::Pod;

use super::Multiply;
use crate::cpu::formats::FloatFormat;
use crate::cpu::isa::{Isa, LANES};

/// How far ahead panels are asked for, in bytes.
const PREFETCH_BYTES: usize = 4096;

/// What a lane of a panel stores, and how it is multiplied.
pub(super) trait Columns<I: Isa>: Copy {
    /// Steps in which they are: all rows of a tile take one after the other, so that fewer weights are in registers at a time.
    const STEPS: usize;
    /// The weights of a column, or of some.
    type Stored: Pod;
    /// What a step needs of all lanes, in registers.
    type Weights: Copy;
    /// The activations of as many columns.
    type X: Copy;
    /// Reads the weights of a step.
    fn load(self, isa: I, stored: &[Self::Stored; LANES], step: usize) -> Self::Weights;
    /// Adds the products of a step.
    fn add(self, isa: I, acc: I::F32, factors: (Self::Weights, Self::X), step: usize) -> I::F32;
}

/// One column of a format, in single precision.
struct Single<F>(PhantomData<F>);

impl<F> Clone for Single<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Single<F> {}

impl<I: Isa, F: FloatFormat> Columns<I> for Single<F> {
    const STEPS: usize = 1;
    type Stored = F::Value;
    type Weights = I::F32;
    type X = f32;

    #[inline(always)]
    fn load(self, isa: I, stored: &[F::Value; LANES], _step: usize) -> I::F32 {
        F::load(isa, stored, 0)
    }
    #[inline(always)]
    fn add(self, isa: I, acc: I::F32, (w, x): (I::F32, f32), _step: usize) -> I::F32 {
        isa.mul_add(w, isa.splat(x), acc)
    }
}

/// Multiplies all rows with all panels.
pub(super) fn multiply<I: Isa, F: FloatFormat>(args: Multiply<'_, I>) {
    let input = args.input;
    let first = args.rows.start;
    let cols = args.panels.cols;
    args.isa.enter(
        #[inline(always)]
        || {
            multiply_with(
                args,
                Single::<F>(PhantomData),
                #[inline(always)]
                |row| input.f32_row(first + row, cols),
            );
        },
    );
}

/// Multiplies the rows that `x` gives with all panels, two panels at a time.
#[inline(always)]
pub(super) fn multiply_with<'x, I: Isa, C: Columns<I, X: 'x>>(
    mut args: Multiply<'_, I>,
    columns: C,
    x: impl Fn(usize) -> &'x [C::X],
) {
    let n_rows = args.rows.len();
    for panel in (0..args.panels.len()).step_by(2) {
        let mut row = 0;
        while row < n_rows {
            row += match tile_rows::<I>(n_rows - row) {
                8 => pair::<I, C, 8>(&mut args, columns, (panel, row), &x),
                6 => pair::<I, C, 6>(&mut args, columns, (panel, row), &x),
                4 => pair::<I, C, 4>(&mut args, columns, (panel, row), &x),
                3 => pair::<I, C, 3>(&mut args, columns, (panel, row), &x),
                2 => pair::<I, C, 2>(&mut args, columns, (panel, row), &x),
                _ => pair::<I, C, 1>(&mut args, columns, (panel, row), &x),
            };
        }
    }
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

/// Multiplies `R` rows with a panel and the one after, if there is one; gives `R`.
#[inline(always)]
fn pair<'x, I: Isa, C: Columns<I, X: 'x>, const R: usize>(
    args: &mut Multiply<'_, I>,
    columns: C,
    (panel, row): (usize, usize),
    x: &impl Fn(usize) -> &'x [C::X],
) -> usize {
    let mut rows: [&[C::X]; R] = [&[]; R];
    for (r, row_of_x) in rows.iter_mut().enumerate() {
        *row_of_x = x(row + r);
    }
    let is_pair = panel + 1 < args.panels.len();
    if is_pair && (I::MANY_REGISTERS || R <= 2) {
        tile::<I, C, R, 2>(args, columns, (panel, row), rows);
    } else {
        tile::<I, C, R, 1>(args, columns, (panel, row), rows);
        if is_pair {
            tile::<I, C, R, 1>(args, columns, (panel + 1, row), rows);
        }
    }
    R
}

/// Multiplies `R` rows with `P` panels.
#[inline(always)]
fn tile<I: Isa, C: Columns<I>, const R: usize, const P: usize>(
    args: &mut Multiply<'_, I>,
    columns: C,
    (panel, row): (usize, usize),
    mut x: [&[C::X]; R],
) {
    let isa = args.isa;
    let len = x[0].len();
    for x in &mut x {
        *x = &x[..len];
    }
    let mut w: [&[[C::Stored; LANES]]; P] = [&[]; P];
    for (p, w) in w.iter_mut().enumerate() {
        *w = &args.panels.values(panel + p)[..len];
    }
    // Later rows find the panels in a cache.
    let ahead = if row == 0 { PREFETCH_BYTES } else { 0 };
    // After the end of a panel comes that of the next tile. Where columns are whole cache lines, the processor finds it by itself,
    // and is quicker.
    let column_bytes = size_of::<[C::Stored; LANES]>();
    let last = len.saturating_sub(PREFETCH_BYTES / column_bytes);
    let ahead_of_last = if row == 0 { PREFETCH_BYTES + (P - 1) * len * column_bytes } else { 0 };
    let mut acc = [[isa.splat(0.0); P]; R];
    for k in 0..len {
        let ahead = if column_bytes < 64 && k >= last { ahead_of_last } else { ahead };
        for p in 0..P {
            isa.prefetch((&raw const w[p][k]).wrapping_byte_add(ahead));
        }
        for step in 0..C::STEPS {
            let mut weights = [columns.load(isa, &w[0][k], step); P];
            for p in 1..P {
                weights[p] = columns.load(isa, &w[p][k], step);
            }
            for r in 0..R {
                for p in 0..P {
                    acc[r][p] = columns.add(isa, acc[r][p], (weights[p], x[r][k]), step);
                }
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            args.lanes.store(isa, row + r, panel + p, acc[r][p]);
        }
    }
}
