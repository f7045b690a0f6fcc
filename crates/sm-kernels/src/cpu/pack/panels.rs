//! Views of packed panels, and what is read out of them other than by products: F16 widened to F32, and single rows.

use bytemuck::Pod;
use sm_tensor::DType;

use super::Line;
use crate::cpu::formats::{CodeKind, FloatFormat, FormatVisitor, QuantFormat, SEGMENT_LEN, SEGMENT_QUADS};
use crate::cpu::isa::{Isa, LANES};

/// Neighbouring panels of one tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a> {
    /// Their format.
    pub(crate) dtype: DType,
    /// Columns of the matrix.
    pub(crate) cols: usize,
    /// The row of the matrix in lane 0 of the first panel.
    pub(crate) first_row: usize,
    pub(super) lines: &'a [Line],
    pub(super) panel_lines: usize,
}

impl<'a> Panels<'a> {
    /// The same panels in F32, widened from F16 into `lines`.
    ///
    /// # Panics
    /// If `lines` has fewer than a line for each column of each panel, or the panels are not F16.
    pub(crate) fn widen<I: Isa>(self, isa: I, lines: &'a mut [Line]) -> Self {
        assert!(self.dtype == DType::F16, "panels in {} cannot be widened", self.dtype);
        let lines = &mut lines[..self.len() * self.cols];
        isa.enter(
            #[inline(always)]
            || {
                for (panel, lines) in lines.chunks_mut(self.cols).enumerate() {
                    let columns: &mut [[f32; LANES]] = bytemuck::cast_slice_mut(lines);
                    for (column, values) in columns.iter_mut().zip(self.values(panel)) {
                        isa.store(column, isa.load_f16(values));
                    }
                }
            },
        );
        Self { dtype: DType::F32, lines, panel_lines: self.cols, ..self }
    }

    /// Number of panels.
    pub(crate) fn len(&self) -> usize {
        self.lines.len() / self.panel_lines
    }

    /// The blocks of a panel of a quantized format.
    #[inline(always)]
    pub(crate) fn blocks<F: QuantFormat>(&self, panel: usize) -> &'a [F::Block] {
        bytemuck::cast_slice(&self.lines[panel * self.panel_lines..][..self.panel_lines])
    }

    /// The values of a panel of a float format, `[cols / COLS]` and padding; `V` is its [`FloatFormat::Value`].
    #[inline(always)]
    pub(crate) fn values<V: Pod>(&self, panel: usize) -> &'a [[V; LANES]] {
        let lines: &[V] = bytemuck::cast_slice(&self.lines[panel * self.panel_lines..][..self.panel_lines]);
        lines.as_chunks::<LANES>().0
    }
}

/// Decodes one lane of the first panel: a row of the matrix.
pub(super) struct DequantizeRow<'a, I> {
    pub(super) isa: I,
    pub(super) panels: Panels<'a>,
    pub(super) lane: usize,
    /// `[cols]`
    pub(super) out: &'a mut [f32],
}

impl<I: Isa> FormatVisitor for DequantizeRow<'_, I> {
    type Output = ();

    #[inline(always)]
    fn float<F: FloatFormat>(self) {
        let mut lanes = [0.0; LANES];
        for (out, values) in self.out.chunks_mut(F::COLS).zip(self.panels.values::<F::Value>(0)) {
            for (column, out) in out.iter_mut().enumerate() {
                self.isa.store(&mut lanes, F::load(self.isa, values, column));
                *out = lanes[self.lane];
            }
        }
    }

    #[inline(always)]
    fn quantized<F: QuantFormat>(self) {
        let isa = self.isa;
        let lane = self.lane;
        let blocks = self.panels.blocks::<F>(0);
        for (index, out) in self.out.as_chunks_mut::<SEGMENT_LEN>().0.iter_mut().enumerate() {
            let block = &blocks[index / F::SEGMENTS];
            let segment = index % F::SEGMENTS;
            let lane_of = |vector: I::F32| {
                let mut lanes = [0.0; LANES];
                isa.store(&mut lanes, vector);
                lanes[lane]
            };
            let group_quads = SEGMENT_QUADS / F::Kind::GROUPS;
            let mut bytes = [0; 64];
            for (group, out) in out.as_chunks_mut::<4>().0.chunks_mut(group_quads).enumerate() {
                let scale = lane_of(F::scales(isa, block, segment, group));
                let min = lane_of(F::mins(isa, block, segment, group));
                for (quad, out) in out.iter_mut().enumerate() {
                    isa.store_bytes(&mut bytes, F::codes(isa, block, segment, group * group_quads + quad));
                    for (out, code) in out.iter_mut().zip(&bytes[4 * lane..]) {
                        // Formats without minima subtract zero, which changes nothing.
                        *out = scale * (i32::from(*code) - F::OFFSET) as f32 - min;
                    }
                }
            }
        }
    }
}
