//! `Linear` and `GatedLinear`: matrix products with their epilogues.
//!
//! ```text
//! Linear        out[n] = epilogue(W x[n] + bias)                   stored or added
//! GatedLinear   out[n] = activation(G x[n]) * (U x[n])             SwiGLU and its kin (Shazeer 2020)
//! ```
//!
//! Bias, activation, gate and residual are applied to a strip of results while it is in L1, and the int8 encoding for
//! the next product is made there too: the output is written once and not read again. Gate and up are multiplied strip
//! by strip, one after the other, so that their products meet in L1.

#[cfg(test)]
mod tests;

use std::ops::Range;

use super::math::{activate, soft_cap};
use super::product::{ProductWorkspace, Sink, product};
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
    /// Whether to replace or to add.
    pub(crate) store: Store,
}

impl Linear<'_> {
    /// Computes the columns of `out`.
    pub(crate) fn run<I: Isa>(&self, isa: I, out: &mut OutputColumns<'_>, workspace: &mut ProductWorkspace) {
        let columns = out.columns(self.weight.rows());
        product(isa, &self.x, [self.weight], columns, &mut LinearSink { op: self, out }, workspace);
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
    /// The activation on the gate.
    pub(crate) activation: Activation,
}

impl GatedLinear<'_> {
    /// Computes the columns of `out`.
    pub(crate) fn run<I: Isa>(&self, isa: I, out: &mut OutputColumns<'_>, workspace: &mut ProductWorkspace) {
        let columns = out.columns(self.gate.rows());
        let mut sink = GatedSink { activation: self.activation, out };
        product(isa, &self.x, [self.gate, self.up], columns, &mut sink, workspace);
    }
}

struct GatedSink<'o, 's> {
    activation: Activation,
    out: &'o mut OutputColumns<'s>,
}

impl Sink<2> for GatedSink<'_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, [gate, up]: [&mut [f32]; 2]) {
        apply_gate(isa, self.activation, gate, up);
        self.out.put(isa, row, &columns, gate, Store::Write);
    }
}

/// `gate = activation(gate) * up`, whole vectors.
#[inline(always)]
pub(crate) fn apply_gate<I: Isa>(isa: I, activation: Activation, gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.as_chunks_mut::<LANES>().0.iter_mut().zip(up.as_chunks::<LANES>().0) {
        isa.store(gate, isa.mul(activate(isa, activation, isa.load(gate)), isa.load(up)));
    }
}
