//! Products with float weights, widened in registers.
//!
//! ```text
//!               AVX-512               AVX2                   scalar
//! many rows     8 rows × 2 panels     6 × 1                  1 × 2
//! few rows      4 × 2, 2 × 2, 1 × 2   4 × 1, 3 × 1, 2 × 2, 1 × 2
//! ```
//!
//! Tiles of like size beat one large and some small ones: 8 rows are 4 + 4 on AVX2, not 6 + 1 + 1. Two panels at a time
//! halve the broadcasts per multiply-add.
//!
//! One row is bound by memory: while the first tile of rows reads a pair of panels it prefetches [`PREFETCH_BYTES`]
//! ahead, across the end of the panel where a column is less than a cache line; later tiles find the pair in a cache.
//! Prefetching twice as far gained nothing, and prefetching the next pair for F32 and BF16, whose columns are whole
//! lines, cost a tenth: the hardware finds those.
#![allow(clippy::needless_range_loop, reason = "a tile indexes several arrays of registers alike")]

use std::marker::PhantomData;

use bytemuck::Pod;

use super::panel::PanelProduct;
use crate::cpu::formats::FloatFormat;
use crate::cpu::isa::{Isa, LANES};

/// Prefetch distance, in bytes.
const PREFETCH_BYTES: usize = 4096;

/// How a tile loads a column of a panel, or a few columns in one lane, and multiplies it.
pub(super) trait FloatColumns<I: Isa>: Copy {
    /// Stages of a column; see [`Bf16Products::STAGES`](crate::cpu::isa::Bf16Products::STAGES).
    const STAGES: usize;
    /// What a lane of a panel stores.
    type Stored: Pod;
    /// The weights of a stage, in registers.
    type Weights: Copy;
    /// The activations of the same columns.
    type X: Copy;
    /// Loads the weights of a stage.
    fn load(self, isa: I, stored: &[Self::Stored; LANES], stage: usize) -> Self::Weights;
    /// Adds the products of a stage.
    fn add(self, isa: I, acc: I::F32, w: Self::Weights, x: Self::X, stage: usize) -> I::F32;
}

/// One column of a format, in single precision.
struct F32Columns<F>(PhantomData<F>);

impl<F> Clone for F32Columns<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for F32Columns<F> {}

impl<I: Isa, F: FloatFormat> FloatColumns<I> for F32Columns<F> {
    const STAGES: usize = 1;
    type Stored = F::Value;
    type Weights = I::F32;
    type X = f32;

    #[inline(always)]
    fn load(self, isa: I, stored: &[F::Value; LANES], _stage: usize) -> I::F32 {
        F::load(isa, stored, 0)
    }
    #[inline(always)]
    fn add(self, isa: I, acc: I::F32, w: I::F32, x: f32, _stage: usize) -> I::F32 {
        isa.mul_add(w, isa.splat(x), acc)
    }
}

/// Multiplies all rows with all panels.
pub(super) fn multiply<I: Isa, F: FloatFormat>(args: PanelProduct<'_, I>) {
    let input = args.input;
    let first = args.rows.start;
    let cols = args.panels.cols;
    args.isa.enter(
        #[inline(always)]
        || {
            multiply_with(
                args,
                F32Columns::<F>(PhantomData),
                #[inline(always)]
                |row| input.f32_row(first + row, cols),
            );
        },
    );
}

/// Multiplies the rows of activations that `x` yields with all panels, two panels at a time.
#[inline(always)]
pub(super) fn multiply_with<'x, I: Isa, C: FloatColumns<I, X: 'x>>(
    mut args: PanelProduct<'_, I>,
    columns: C,
    x: impl Fn(usize) -> &'x [C::X],
) {
    let n_rows = args.rows.len();
    for panel in (0..args.panels.len()).step_by(2) {
        let mut row = 0;
        while row < n_rows {
            row += match tile_rows::<I>(n_rows - row) {
                8 => pair::<I, C, 8>(&mut args, columns, panel, row, &x),
                6 => pair::<I, C, 6>(&mut args, columns, panel, row, &x),
                4 => pair::<I, C, 4>(&mut args, columns, panel, row, &x),
                3 => pair::<I, C, 3>(&mut args, columns, panel, row, &x),
                2 => pair::<I, C, 2>(&mut args, columns, panel, row, &x),
                _ => pair::<I, C, 1>(&mut args, columns, panel, row, &x),
            };
        }
    }
}

/// Rows of the next tile if `n_rows` are left: as few tiles as possible, of like size.
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

/// Multiplies `R` rows with a panel and the next one, if there is one. Returns `R`.
#[inline(always)]
fn pair<'x, I: Isa, C: FloatColumns<I, X: 'x>, const R: usize>(
    args: &mut PanelProduct<'_, I>,
    columns: C,
    panel: usize,
    row: usize,
    x: &impl Fn(usize) -> &'x [C::X],
) -> usize {
    let mut rows: [&[C::X]; R] = [&[]; R];
    for (r, row_of_x) in rows.iter_mut().enumerate() {
        *row_of_x = x(row + r);
    }
    let is_pair = panel + 1 < args.panels.len();
    if is_pair && (I::HAS_32_REGISTERS || R <= 2) {
        tile::<I, C, R, 2>(args, columns, panel, row, rows);
    } else {
        tile::<I, C, R, 1>(args, columns, panel, row, rows);
        if is_pair {
            tile::<I, C, R, 1>(args, columns, panel + 1, row, rows);
        }
    }
    R
}

/// Multiplies `R` rows with `P` panels.
#[inline(always)]
fn tile<I: Isa, C: FloatColumns<I>, const R: usize, const P: usize>(
    args: &mut PanelProduct<'_, I>,
    columns: C,
    panel: usize,
    row: usize,
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
    // Near the end of its panel, a stream of less than a line per column has to skip the other panels of this tile.
    let column_bytes = size_of::<[C::Stored; LANES]>();
    let last = len.saturating_sub(PREFETCH_BYTES / column_bytes);
    let ahead_of_last = if row == 0 { PREFETCH_BYTES + (P - 1) * len * column_bytes } else { 0 };
    let mut acc = [[isa.splat(0.0); P]; R];
    for k in 0..len {
        let ahead = if column_bytes < 64 && k >= last { ahead_of_last } else { ahead };
        for p in 0..P {
            isa.prefetch_l2((&raw const w[p][k]).wrapping_byte_add(ahead));
        }
        for stage in 0..C::STAGES {
            let mut weights = [columns.load(isa, &w[0][k], stage); P];
            for p in 1..P {
                weights[p] = columns.load(isa, &w[p][k], stage);
            }
            for r in 0..R {
                for p in 0..P {
                    acc[r][p] = columns.add(isa, acc[r][p], weights[p], x[r][k], stage);
                }
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            args.out.store(isa, row + r, panel + p, acc[r][p]);
        }
    }
}
