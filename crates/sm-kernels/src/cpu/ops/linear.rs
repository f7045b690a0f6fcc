//! `Linear` and `GatedLinear`: matrix products with what follows them.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::cpu::isa::{Isa, LANES};
use crate::cpu::ops::encode::{BLOCK_LEN, Int8Block, encode_row};
use crate::cpu::ops::math::{activate, soft_cap};
use crate::cpu::ops::product::{Input, Scratch, Sink, product};
use crate::cpu::pack::PackedMatrix;
use crate::cpu::split::Share;
use crate::plan::{Activation, Epilogue, Store};

/// A worker's share of the output: the same columns in each form that the buffer keeps.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    /// `[n_rows, columns]`, columns in multiples of 32.
    pub(crate) f32: Option<Share<'a, f32>>,
    /// `[n_rows, columns / 32]`; the width of the result is then a multiple of 32.
    pub(crate) int8: Option<Share<'a, Int8Block>>,
}

impl Output<'_> {
    /// The columns of this share of a result of `width` columns.
    pub(crate) fn columns(&self, width: usize) -> Range<usize> {
        let columns = match (&self.f32, &self.int8) {
            (Some(values), _) => values.columns(),
            (None, Some(blocks)) => blocks.columns().start * BLOCK_LEN..blocks.columns().end * BLOCK_LEN,
            (None, None) => 0..0,
        };
        if let Some(blocks) = &self.int8 {
            assert!(width.is_multiple_of(BLOCK_LEN), "{width} columns are no whole int8 blocks");
            assert_eq!(
                columns.start,
                blocks.columns().start * BLOCK_LEN,
                "the forms of a buffer are shared alike"
            );
        }
        columns.start.min(width)..columns.end.min(width)
    }

    /// Stores columns of a row; `values` is padded to whole vectors.
    #[inline(always)]
    pub(crate) fn put<I: Isa>(
        &mut self,
        isa: I,
        (row, columns): (usize, &Range<usize>),
        values: &[f32],
        store: Store,
    ) {
        if let Some(share) = &mut self.f32 {
            let first = share.columns().start;
            let out = &mut share.row_mut(row)[columns.start - first..columns.end - first];
            match store {
                Store::Write => out.copy_from_slice(&values[..columns.len()]),
                Store::Add => add_to(isa, out, values),
            }
        }
        if let Some(share) = &mut self.int8 {
            let first = share.columns().start;
            let blocks = columns.start / BLOCK_LEN - first..columns.end / BLOCK_LEN - first;
            encode_row(isa, &values[..columns.len()], &mut share.row_mut(row)[blocks]);
        }
    }
}

/// `out += values`
#[inline(always)]
fn add_to<I: Isa>(isa: I, out: &mut [f32], values: &[f32]) {
    let (vectors, rest) = out.as_chunks_mut::<LANES>();
    let (values, rest_values) = values.split_at(vectors.len() * LANES);
    for (out, values) in vectors.iter_mut().zip(values.as_chunks::<LANES>().0) {
        isa.store(out, isa.add(isa.load(out), isa.load(values)));
    }
    for (out, value) in rest.iter_mut().zip(rest_values) {
        *out += value;
    }
}

/// `out[n] = epilogue(weight * x[n] + bias)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear<'a> {
    /// `[n_rows, in_features]`.
    pub(crate) x: Input<'a>,
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
    pub(crate) fn run<I: Isa>(&self, isa: I, out: &mut Output<'_>, scratch: &mut Scratch) {
        let columns = out.columns(self.weight.rows());
        product(isa, (&self.x, [self.weight]), columns, &mut LinearSink { op: self, out }, scratch);
    }
}

struct LinearSink<'a, 'o, 's> {
    op: &'a Linear<'a>,
    out: &'o mut Output<'s>,
}

impl Sink<1> for LinearSink<'_, '_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, [values]: [&mut [f32]; 1]) {
        if let Some(bias) = self.op.bias {
            add_to(isa, &mut values[..columns.len()], &bias[columns.clone()]);
        }
        for v in values.as_chunks_mut::<LANES>().0 {
            match self.op.epilogue {
                Epilogue::None => break,
                Epilogue::Activation(activation) => isa.store(v, activate(isa, activation, isa.load(v))),
                Epilogue::SoftCap(cap) => isa.store(v, soft_cap(isa, cap, isa.load(v))),
            }
        }
        self.out.put(isa, (row, &columns), values, self.op.store);
    }
}

/// `out[n] = activation(gate * x[n]) * (up * x[n])`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatedLinear<'a> {
    /// `[n_rows, in_features]`.
    pub(crate) x: Input<'a>,
    /// `[out_features, in_features]`.
    pub(crate) gate: PackedMatrix<'a>,
    /// `[out_features, in_features]`.
    pub(crate) up: PackedMatrix<'a>,
    /// The non-linearity on the gate.
    pub(crate) activation: Activation,
}

impl GatedLinear<'_> {
    /// Computes the share of one worker.
    pub(crate) fn run<I: Isa>(&self, isa: I, out: &mut Output<'_>, scratch: &mut Scratch) {
        let columns = out.columns(self.gate.rows());
        let mut sink = GatedSink { activation: self.activation, out };
        product(isa, (&self.x, [self.gate, self.up]), columns, &mut sink, scratch);
    }
}

struct GatedSink<'o, 's> {
    activation: Activation,
    out: &'o mut Output<'s>,
}

impl Sink<2> for GatedSink<'_, '_> {
    #[inline(always)]
    fn put<I: Isa>(&mut self, isa: I, row: usize, columns: Range<usize>, [gate, up]: [&mut [f32]; 2]) {
        gate_values(isa, self.activation, gate, up);
        self.out.put(isa, (row, &columns), gate, Store::Write);
    }
}

/// `gate = activation(gate) * up`, whole vectors.
#[inline(always)]
pub(crate) fn gate_values<I: Isa>(isa: I, activation: Activation, gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.as_chunks_mut::<LANES>().0.iter_mut().zip(up.as_chunks::<LANES>().0) {
        isa.store(gate, isa.mul(activate(isa, activation, isa.load(gate)), isa.load(up)));
    }
}
