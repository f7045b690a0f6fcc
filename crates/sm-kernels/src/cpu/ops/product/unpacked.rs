//! Pairs of panels unpacked to bytes and `f32` scales, for sweeping over many rows.

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::Lanes;
use super::quantized::{Weights, tile};
use crate::cpu::activations::InputRows;
use crate::cpu::activations::int8::Int8Block;
use crate::cpu::formats::{
    self, CodeKind, Codes, FloatFormat, FormatVisitor, QuantFormat, UNIT_LEN, UNIT_QUADS,
};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::pack::{Line, Panels};

/// A unit of two panels, whatever their format was.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Unit {
    codes: [[[u8; 64]; 2]; UNIT_QUADS],
    scales: [[[f32; LANES]; 2]; 2],
    mins: [[[f32; LANES]; 2]; 2],
}

/// Two panels, unpacked; the second is zero if there is only one.
pub(super) struct PanelPair<'a> {
    /// The row of the matrix in lane 0 of the first panel.
    pub(super) first_row: usize,
    cols: usize,
    units: &'a [Unit],
    offset: i32,
    kind: Kind,
}

/// [`CodeKind`] as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    groups: usize,
    has_min: bool,
    bits: u32,
}

impl<'a> PanelPair<'a> {
    /// Unpacks one or two panels of a quantized format.
    ///
    /// # Panics
    /// If there are fewer lines than the units of the panels take.
    pub(super) fn unpack<I: Isa>(isa: I, panels: Panels<'_>, lines: &'a mut [Line]) -> Self {
        let unit_lines = size_of::<Unit>() / size_of::<Line>();
        let units: &mut [Unit] = bytemuck::cast_slice_mut(&mut lines[..panels.cols / UNIT_LEN * unit_lines]);
        let (offset, kind) = formats::dispatch(panels.dtype, Unpack { isa, panels, units });
        Self { first_row: panels.first_row, cols: panels.cols, units, offset, kind }
    }

    /// Multiplies rows with the pair.
    pub(super) fn multiply<I: Isa>(
        &self,
        isa: I,
        input: &InputRows<'_>,
        rows: Range<usize>,
        lanes: Lanes<'_>,
    ) {
        let sweep = Sweep { isa, pair: self, input, rows, lanes };
        // For the next larger number of bits.
        match (self.kind.groups, self.kind.has_min, self.kind.bits) {
            (1, false, ..=4) => sweep.run::<Codes<1, false, 4>>(),
            (1, false, 5) => sweep.run::<Codes<1, false, 5>>(),
            (1, false, _) => sweep.run::<Codes<1, false, 8>>(),
            (1, true, ..=4) => sweep.run::<Codes<1, true, 4>>(),
            (1, true, _) => sweep.run::<Codes<1, true, 5>>(),
            (_, false, ..=4) => sweep.run::<Codes<2, false, 4>>(),
            (_, false, _) => sweep.run::<Codes<2, false, 6>>(),
            (_, true, _) => sweep.run::<Codes<2, true, 4>>(),
        }
    }
}

struct Unpack<'a, I> {
    isa: I,
    panels: Panels<'a>,
    units: &'a mut [Unit],
}

impl<I: Isa> FormatVisitor for Unpack<'_, I> {
    type Output = (i32, Kind);

    fn float<F: FloatFormat>(self) -> (i32, Kind) {
        unreachable!("float panels are multiplied as they are")
    }

    fn quantized<F: QuantFormat>(self) -> (i32, Kind) {
        const {
            let most = match (F::Kind::GROUPS, F::Kind::HAS_MIN) {
                (1, false) => 8,
                (1, true) => 5,
                (_, false) => 6,
                (_, true) => 4,
            };
            assert!(F::Kind::BITS <= most, "PanelPair::multiply has no row for this kind of codes");
        }
        let Self { isa, panels, units } = self;
        isa.enter(
            #[inline(always)]
            || {
                for panel in 0..panels.len() {
                    let blocks = panels.blocks::<F>(panel);
                    for (index, unit) in units.iter_mut().enumerate() {
                        unpack_unit::<I, F>(isa, (&blocks[index / F::UNITS], index % F::UNITS), unit, panel);
                    }
                }
                if panels.len() == 1 {
                    for unit in units {
                        unit.codes.iter_mut().for_each(|codes| codes[1] = [0; 64]);
                        unit.scales.iter_mut().for_each(|scales| scales[1] = [0.0; LANES]);
                        unit.mins.iter_mut().for_each(|mins| mins[1] = [0.0; LANES]);
                    }
                }
            },
        );
        let kind = Kind { groups: F::Kind::GROUPS, has_min: F::Kind::HAS_MIN, bits: F::Kind::BITS };
        (F::OFFSET, kind)
    }
}

#[inline(always)]
fn unpack_unit<I: Isa, F: QuantFormat>(
    isa: I,
    (block, index): (&F::Block, usize),
    unit: &mut Unit,
    panel: usize,
) {
    for group in 0..F::Kind::GROUPS {
        isa.store(&mut unit.scales[group][panel], F::scales(isa, block, index, group));
        if F::Kind::HAS_MIN {
            isa.store(&mut unit.mins[group][panel], F::mins(isa, block, index, group));
        }
    }
    for quad in 0..UNIT_QUADS {
        isa.store_bytes(&mut unit.codes[quad][panel], F::codes(isa, block, index, quad));
    }
}

/// Panels of a pair from one on, as a tile reads them.
struct Side<'a, K> {
    units: &'a [Unit],
    first_panel: usize,
    offset: i32,
    kind: PhantomData<K>,
}

impl<I: Isa, K: CodeKind> Weights<I> for Side<'_, K> {
    type Kind = K;

    #[inline(always)]
    fn offset(&self) -> i32 {
        self.offset
    }
    #[inline(always)]
    fn codes(&self, isa: I, panel: usize, unit: usize, quad: usize) -> I::Bytes {
        isa.load_bytes(&self.units[unit].codes[quad][self.first_panel + panel])
    }
    #[inline(always)]
    fn scales(&self, isa: I, panel: usize, unit: usize, group: usize) -> I::F32 {
        isa.load(&self.units[unit].scales[group][self.first_panel + panel])
    }
    #[inline(always)]
    fn mins(&self, isa: I, panel: usize, unit: usize, group: usize) -> I::F32 {
        isa.load(&self.units[unit].mins[group][self.first_panel + panel])
    }
    #[inline(always)]
    fn prefetch(&self, _isa: I, _unit: usize) {}
}

/// The rows that a pair is multiplied with.
struct Sweep<'a, I> {
    isa: I,
    pair: &'a PanelPair<'a>,
    input: &'a InputRows<'a>,
    rows: Range<usize>,
    lanes: Lanes<'a>,
}

impl<I: Isa> Sweep<'_, I> {
    fn run<K: CodeKind>(mut self) {
        self.isa.enter(
            #[inline(always)]
            || {
                let n_rows = self.rows.len();
                if I::MANY_REGISTERS {
                    let mut row = 0;
                    while row + 6 <= n_rows {
                        self.tile::<K, 6, 2>(row, 0);
                        row += 6;
                    }
                    match n_rows - row {
                        5 => self.tile::<K, 5, 2>(row, 0),
                        4 => self.tile::<K, 4, 2>(row, 0),
                        3 => self.tile::<K, 3, 2>(row, 0),
                        2 => self.tile::<K, 2, 2>(row, 0),
                        1 => self.tile::<K, 1, 2>(row, 0),
                        _ => {}
                    }
                } else {
                    for panel in 0..2 {
                        let mut row = 0;
                        while I::TILE_ROWS >= 4 && row + 4 <= n_rows {
                            self.tile::<K, 4, 1>(row, panel);
                            row += 4;
                        }
                        for row in row..n_rows {
                            self.tile::<K, 1, 1>(row, panel);
                        }
                    }
                }
            },
        );
    }

    /// Multiplies `R` rows with `P` panels of the pair.
    #[inline(always)]
    fn tile<K: CodeKind, const R: usize, const P: usize>(&mut self, row: usize, first_panel: usize) {
        let n_units = self.pair.cols / UNIT_LEN;
        let mut x: [&[Int8Block]; R] = [&[]; R];
        for (r, x) in x.iter_mut().enumerate() {
            *x = self.input.int8_row(self.rows.start + row + r, self.pair.cols);
        }
        let PanelPair { units, offset, .. } = *self.pair;
        let side = Side::<'_, K> { units: &units[..n_units], first_panel, offset, kind: PhantomData };
        tile::<I, Side<'_, K>, R, P>(self.isa, &side, (x, n_units), (row, first_panel, &mut self.lanes));
    }
}
