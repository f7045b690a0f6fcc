//! Products of many rows with quantized weights: a pair of panels is unpacked once and swept over all rows.
//!
//! ```text
//! packed                               unpacked segment (L2)
//! panel p      codes of 2 to 8 bits    codes  [8 quads][2 panels][64]
//! panel p + 1  f16 scales, …      ──►  scales [2 groups][2 panels][16] f32
//!                                      mins   [2 groups][2 panels][16] f32
//! ```
//!
//! Shifts, masks and conversions of scales are paid once instead of once per tile of rows. AVX-512 sweeps tiles of 6
//! rows × 2 panels: 12 sums, 12 dots, 2 vectors of codes and a broadcast in 32 registers. Without that many the panels
//! are swept one after the other, 4 rows at a time.
//!
//! All formats with the same terms share the compiled sweep of the widest codes among them: nothing but [`Kind`] is
//! left of a format.

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::dots::TileWeights;
use super::quantized::tile;
use super::strip::{PAIR_LEN, TileOut};
use crate::cpu::activations::InputRows;
use crate::cpu::activations::int8::Int8Block;
use crate::cpu::formats::{
    self, CodeKind, FloatFormat, FormatVisitor, Kind, QuantFormat, SEGMENT_LEN, SEGMENT_QUADS,
};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::pack::{Line, Panels};

/// A segment of two panels, whatever their format was.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct UnpackedSegment {
    codes: [[[u8; 64]; 2]; SEGMENT_QUADS],
    scales: [[[f32; LANES]; 2]; 2],
    mins: [[[f32; LANES]; 2]; 2],
}

/// Lines of a pair of panels of `cols` columns, unpacked or widened: F32 takes the most.
pub(super) const fn pair_lines(cols: usize) -> usize {
    const {
        let widened_bytes = SEGMENT_LEN * PAIR_LEN * size_of::<f32>();
        assert!(size_of::<UnpackedSegment>() <= widened_bytes, "F32 takes the most");
    }
    cols.next_multiple_of(SEGMENT_LEN) * PAIR_LEN / LANES
}

/// Two panels, unpacked; the second is zero if there is only one.
pub(super) struct PanelPair<'a> {
    /// The row of the matrix in lane 0 of the first panel.
    pub(super) first_row: usize,
    cols: usize,
    segments: &'a [UnpackedSegment],
    offset: i32,
    terms: Terms,
}

/// A [`CodeKind`] as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    groups: usize,
    has_min: bool,
    bits: u32,
}

impl<'a> PanelPair<'a> {
    /// Unpacks one or two panels of a quantized format.
    ///
    /// # Panics
    /// If there are fewer than [`pair_lines`] lines.
    pub(super) fn unpack<I: Isa>(isa: I, panels: Panels<'_>, lines: &'a mut [Line]) -> Self {
        let segment_lines = size_of::<UnpackedSegment>() / size_of::<Line>();
        let lines = &mut lines[..panels.cols / SEGMENT_LEN * segment_lines];
        let segments: &mut [UnpackedSegment] = bytemuck::cast_slice_mut(lines);
        let (offset, terms) = formats::dispatch(panels.dtype, Unpack { isa, panels, segments });
        Self { first_row: panels.first_row, cols: panels.cols, segments, offset, terms }
    }

    /// Multiplies rows with the pair.
    pub(super) fn multiply<I: Isa>(
        &self,
        isa: I,
        input: &InputRows<'_>,
        rows: Range<usize>,
        out: TileOut<'_>,
    ) {
        let sweep = Sweep { isa, pair: self, input, rows, out };
        // The next larger number of bits that has a row.
        match (self.terms.groups, self.terms.has_min, self.terms.bits) {
            (1, false, ..=4) => sweep.run::<Kind<1, false, 4>>(),
            (1, false, 5) => sweep.run::<Kind<1, false, 5>>(),
            (1, false, _) => sweep.run::<Kind<1, false, 8>>(),
            (1, true, ..=4) => sweep.run::<Kind<1, true, 4>>(),
            (1, true, _) => sweep.run::<Kind<1, true, 5>>(),
            (_, false, ..=4) => sweep.run::<Kind<2, false, 4>>(),
            (_, false, 5 | 6) => sweep.run::<Kind<2, false, 6>>(),
            (_, false, _) => sweep.run::<Kind<2, false, 7>>(),
            (_, true, _) => sweep.run::<Kind<2, true, 4>>(),
        }
    }
}

struct Unpack<'a, I> {
    isa: I,
    panels: Panels<'a>,
    segments: &'a mut [UnpackedSegment],
}

impl<I: Isa> FormatVisitor for Unpack<'_, I> {
    type Output = (i32, Terms);

    fn float<F: FloatFormat>(self) -> (i32, Terms) {
        unreachable!("float panels are not unpacked")
    }

    fn quantized<F: QuantFormat>(self) -> (i32, Terms) {
        const {
            let most = match (F::Kind::GROUPS, F::Kind::HAS_MIN) {
                (1, false) => 8,
                (1, true) => 5,
                (_, false) => 7,
                (_, true) => 4,
            };
            assert!(F::Kind::BITS <= most, "PanelPair::multiply has no row for this kind of codes");
        }
        let Self { isa, panels, segments } = self;
        isa.enter(
            #[inline(always)]
            || {
                for panel in 0..panels.len() {
                    let blocks = panels.blocks::<F>(panel);
                    for (index, segment) in segments.iter_mut().enumerate() {
                        let block = &blocks[index / F::SEGMENTS];
                        unpack_segment::<I, F>(isa, block, index % F::SEGMENTS, segment, panel);
                    }
                }
                if panels.len() == 1 {
                    for segment in segments {
                        segment.codes.iter_mut().for_each(|codes| codes[1] = [0; 64]);
                        segment.scales.iter_mut().for_each(|scales| scales[1] = [0.0; LANES]);
                        segment.mins.iter_mut().for_each(|mins| mins[1] = [0.0; LANES]);
                    }
                }
            },
        );
        let terms = Terms { groups: F::Kind::GROUPS, has_min: F::Kind::HAS_MIN, bits: F::Kind::BITS };
        (F::OFFSET, terms)
    }
}

/// Unpacks segment `index` of a block as panel `panel` of `out`.
#[inline(always)]
fn unpack_segment<I: Isa, F: QuantFormat>(
    isa: I,
    block: &F::Block,
    index: usize,
    out: &mut UnpackedSegment,
    panel: usize,
) {
    for group in 0..F::Kind::GROUPS {
        isa.store(&mut out.scales[group][panel], F::scales(isa, block, index, group));
        if F::Kind::HAS_MIN {
            isa.store(&mut out.mins[group][panel], F::mins(isa, block, index, group));
        }
    }
    for quad in 0..SEGMENT_QUADS {
        isa.store_bytes(&mut out.codes[quad][panel], F::codes(isa, block, index, quad));
    }
}

/// The panels of a pair from `first_panel` on, as a tile reads them.
struct UnpackedPanels<'a, K> {
    segments: &'a [UnpackedSegment],
    first_panel: usize,
    offset: i32,
    kind: PhantomData<K>,
}

impl<I: Isa, K: CodeKind> TileWeights<I> for UnpackedPanels<'_, K> {
    type Kind = K;

    #[inline(always)]
    fn offset(&self) -> i32 {
        self.offset
    }
    #[inline(always)]
    fn codes(&self, isa: I, panel: usize, segment: usize, quad: usize) -> I::Bytes {
        isa.load_bytes(&self.segments[segment].codes[quad][self.first_panel + panel])
    }
    #[inline(always)]
    fn scales(&self, isa: I, panel: usize, segment: usize, group: usize) -> I::F32 {
        isa.load(&self.segments[segment].scales[group][self.first_panel + panel])
    }
    #[inline(always)]
    fn mins(&self, isa: I, panel: usize, segment: usize, group: usize) -> I::F32 {
        isa.load(&self.segments[segment].mins[group][self.first_panel + panel])
    }
    #[inline(always)]
    fn prefetch(&self, _isa: I, _segment: usize) {}
}

/// Multiplies all rows with a pair.
struct Sweep<'a, I> {
    isa: I,
    pair: &'a PanelPair<'a>,
    input: &'a InputRows<'a>,
    rows: Range<usize>,
    out: TileOut<'a>,
}

impl<I: Isa> Sweep<'_, I> {
    fn run<K: CodeKind>(mut self) {
        self.isa.enter(
            #[inline(always)]
            || {
                let n_rows = self.rows.len();
                if I::HAS_32_REGISTERS {
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
        let n_segments = self.pair.cols / SEGMENT_LEN;
        let mut x: [&[Int8Block]; R] = [&[]; R];
        for (r, x) in x.iter_mut().enumerate() {
            *x = self.input.int8_row(self.rows.start + row + r, self.pair.cols);
        }
        let PanelPair { segments, offset, .. } = *self.pair;
        let weights = UnpackedPanels::<'_, K> {
            segments: &segments[..n_segments],
            first_panel,
            offset,
            kind: PhantomData,
        };
        tile::<I, _, R, P>(self.isa, &weights, x, n_segments, row, first_panel, &mut self.out);
    }
}
