//! The weights of a strip: packed panels, or a pair of panels unpacked or widened for many rows.

use std::ops::Range;

use sm_tensor::DType;

use super::panel::PanelProduct;
use super::strip::Strip;
use super::unpacked::PanelPair;
use super::{float, quantized};
use crate::cpu::activations::InputRows;
use crate::cpu::formats::{self, FloatFormat, FormatVisitor, QuantFormat};
use crate::cpu::isa::Isa;
use crate::cpu::pack::{Line, PackedMatrix, Panels};

/// The weights of a strip.
pub(super) enum StripWeights<'a> {
    /// As they are packed, of any formats.
    Packed(PackedMatrix<'a>),
    /// Quantized panels, as bytes and `f32` scales.
    Unpacked(PanelPair<'a>),
    /// F16 panels as F32.
    Widened(Panels<'a>),
}

impl<'a> StripWeights<'a> {
    /// Unpacks the panels of a strip into `lines`, if that pays and they are at most two, of one tensor.
    pub(super) fn unpack<I: Isa>(
        isa: I,
        matrix: PackedMatrix<'a>,
        columns: Range<usize>,
        lines: &'a mut [Line],
    ) -> Self {
        let mut runs = matrix.panels(columns);
        match (runs.next(), runs.next()) {
            (Some(panels), None) if panels.dtype.is_quantized() && panels.len() <= 2 => {
                Self::Unpacked(PanelPair::unpack(isa, panels, lines))
            }
            (Some(panels), None)
                if panels.dtype == DType::F16 && panels.len() <= 2 && I::HAS_SLOW_F16_LOADS =>
            {
                Self::Widened(panels.widen(isa, lines))
            }
            _ => Self::Packed(matrix),
        }
    }

    /// Multiplies rows of the input with the weights.
    pub(super) fn multiply<I: Isa>(
        &self,
        isa: I,
        input: &InputRows<'_>,
        rows: Range<usize>,
        mut strip: Strip<'_>,
    ) {
        match self {
            Self::Unpacked(pair) => pair.multiply(isa, input, rows, strip.tiles(pair.first_row)),
            Self::Widened(panels) => multiply_panels(isa, input, rows, *panels, &mut strip),
            Self::Packed(matrix) => {
                // Lanes after the last row of a tensor are overwritten by the next tensor.
                for panels in matrix.panels(strip.columns.clone()) {
                    multiply_panels(isa, input, rows.clone(), panels, &mut strip);
                }
            }
        }
    }
}

fn multiply_panels<I: Isa>(
    isa: I,
    input: &InputRows<'_>,
    rows: Range<usize>,
    panels: Panels<'_>,
    strip: &mut Strip<'_>,
) {
    let out = strip.tiles(panels.first_row);
    formats::dispatch(panels.dtype, PanelProduct { isa, input, rows, panels, out });
}

impl<I: Isa> FormatVisitor for PanelProduct<'_, I> {
    type Output = ();

    #[inline(always)]
    fn float<F: FloatFormat>(self) {
        if F::DTYPE == DType::Bf16 {
            self.isa.with_bf16(self);
        } else {
            float::multiply::<I, F>(self);
        }
    }

    #[inline(always)]
    fn quantized<F: QuantFormat>(self) {
        quantized::multiply::<I, F>(self);
    }
}
