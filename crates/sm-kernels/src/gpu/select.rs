//! The arg-max of each row of logits, found where the logits are: a step of greedy decoding then sends 8 bytes for each sequence.

use super::binder::{Phase, Recorder, RowPhase, params, stride};
use super::device::Gpu;
use super::kernel::{Binding, KernelSpec, Source};
use super::step::{Extents, StepTables, token_at};
use crate::plan::{PrepareError, Rows};

const BINDINGS: [Binding; 2] = [Binding::Read, Binding::ReadWrite];

/// Bytes of a token and its logit.
pub(crate) const PICK_BYTES: u64 = 8;

/// Finds the arg-max of rows.
#[derive(Debug)]
pub(crate) struct ArgMax {
    phase: RowPhase,
    /// `[rows]` of a token and the bits of its logit.
    pub(crate) picked: wgpu::Buffer,
}

impl ArgMax {
    /// For up to `max_rows` rows of `vocab_size` logits.
    ///
    /// # Errors
    /// If the device refuses memory or the kernel.
    pub(crate) fn new(
        gpu: &Gpu,
        logits: &wgpu::Buffer,
        vocab_size: usize,
        max_rows: usize,
    ) -> Result<Self, PrepareError> {
        let picked = gpu.buffer("results", PICK_BYTES * max_rows as u64)?;
        let kernel = gpu.kernel(&spec())?;
        let buffers = gpu.bind(&kernel, &[logits, &picked]);
        let params = params(&[0, vocab_size as u32, stride(vocab_size) as u32]);
        Ok(Self { phase: RowPhase { kernel, buffers, rows: Rows::Outputs, width: 1, params }, picked })
    }

    /// Makes the tokens found those of as many rows of the next step, whose tables are sent.
    pub(crate) fn copy_tokens(&self, encoder: &mut wgpu::CommandEncoder, tables: &StepTables, n_rows: u32) {
        for row in 0..u64::from(n_rows) {
            encoder.copy_buffer_to_buffer(&self.picked, PICK_BYTES * row, &tables.rows, token_at(row), 4);
        }
    }

    /// Records the search in every output row.
    pub(crate) fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents) {
        self.phase.record(recorder, extents);
    }
}

/// The kernel.
pub(crate) fn spec() -> KernelSpec {
    let source = Source::default().text(include_str!("select.wgsl"));
    KernelSpec { name: "arg_max", source, bindings: &BINDINGS }
}
