//! The arguments of a product with panels as they are packed.

use std::ops::Range;

use super::strip::TileOut;
use crate::cpu::activations::InputRows;
use crate::cpu::pack::Panels;

/// Multiplies rows with panels as they are packed: `float.rs`, `bf16.rs` and `quantized.rs` say how.
pub(super) struct PanelProduct<'a, I> {
    pub(super) isa: I,
    pub(super) input: &'a InputRows<'a>,
    /// Rows of the input.
    pub(super) rows: Range<usize>,
    pub(super) panels: Panels<'a>,
    pub(super) out: TileOut<'a>,
}
