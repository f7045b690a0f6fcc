//! `Linear` and `GatedLinear`: matrix products with what follows them.

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::math::{activate, soft_cap};
use super::product::{Scratch, Sink, product};
use crate::cpu::activations::{InputRows, OutputColumns, add_assign};
use crate::cpu::isa::{Isa, LANES};
use crate::cpu::pack::PackedMatrix;
use crate::plan::{Activation, Epilogue, Store};

/// `out[n] = epilogue(weight * x[n] + bias)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    /// `[n_rows, in_features]`.
    pub(crate) x: InputRows<'a>,
    /// `[out_features, in_features]`.
    pub(crate) weight: PackedMatrix<'a>,
    /// `[out_features]`.
    pub(crate) bias: Option<&'a [f32]>,
    /// Applied to each value.
    pub(crate) epilogue: Epilogue,
    /// Replace or add.
    pub(crate) store: Store,
}

impl Linear<'_> {
    /// Computes the share of one worker.
    pub(crate) fn run<I: Isa>(&self, isa: I, out: &mut OutputColumns<'_>, scratch: &mut Scratch) {
        let columns = out.columns(self.weight.rows());
        product(isa, (&self.x, [self.weight]), columns, &mut LinearSink { op: self, out }, scratch);
    }
}

struct LinearSink<'a, 'o, 's> {
    op: &'a Linear<'a>,
    out: &'o mut OutputColumns<'s>,
}

impl Sink<1> for LinearSink<'_, '_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, [values]: [&mut [f32]; 1]) {
        if let Some(bias) = self.op.bias {
            add_assign(isa, &mut values[..columns.len()], &bias[columns.clone()]);
        }
        for v in values.as_chunks_mut::<LANES>().0 {
            match self.op.epilogue {
                Epilogue::None => break,
                Epilogue::Activation(activation) => isa.store(v, activate(isa, activation, isa.load(v))),
                Epilogue::SoftCap(cap) => isa.store(v, soft_cap(isa, cap, isa.load(v))),
                Epilogue::Scale(scale) => isa.store(v, isa.mul(isa.load(v), isa.splat(scale))),
            }
        }
        self.out.put(isa, row, &columns, values, self.op.store);
    }
}

/// `out[n] = activation(gate * x[n]) * (up * x[n])`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatedLinear<'a> {
    /// `[n_rows, in_features]`.
    pub(crate) x: InputRows<'a>,
    /// `[out_features, in_features]`.
    pub(crate) gate: PackedMatrix<'a>,
    /// `[out_features, in_features]`.
    pub(crate) up: PackedMatrix<'a>,
    /// The non-linearity on the gate.
    pub(crate) activation: Activation,
}

impl GatedLinear<'_> {
    /// Computes the share of one worker.
    pub(crate) fn run<I: Isa>(&self, isa: I, out: &mut OutputColumns<'_>, scratch: &mut Scratch) {
        let columns = out.columns(self.gate.rows());
        let mut sink = GatedSink { activation: self.activation, out };
        product(isa, (&self.x, [self.gate, self.up]), columns, &mut sink, scratch);
    }
}

struct GatedSink<'o, 's> {
    activation: Activation,
    out: &'o mut OutputColumns<'s>,
}

impl Sink<2> for GatedSink<'_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, [gate, up]: [&mut [f32]; 2]) {
        gate_values(isa, self.activation, gate, up);
        self.out.put(isa, row, &columns, gate, Store::Write);
    }
}

/// `gate = activation(gate) * up`, whole vectors.
#[inline(always)]
pub(crate) fn gate_values<I: Isa>(isa: I, activation: Activation, gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.as_chunks_mut::<LANES>().0.iter_mut().zip(up.as_chunks::<LANES>().0) {
        isa.store(gate, isa.mul(activate(isa, activation, isa.load(gate)), isa.load(up)));
    }
}
