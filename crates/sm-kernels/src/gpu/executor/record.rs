//! The commands of a step.

use std::ops::Range;

use super::{GpuExecutor, LONG_STEP, StepResults};
use crate::gpu::binder::{Recorder, stride};
use crate::gpu::profiler::Profiler;
use crate::gpu::readback::Readback;
use crate::gpu::results::Results;
use crate::gpu::select::LogitsWanted;
use crate::gpu::step::Extents;
use crate::plan::{BufferId, ExecError, OutputRow, Traffic, Wanted};

impl GpuExecutor {
    /// A command buffer to record into.
    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Records operations as one pass, and the search for what `logits` wants. Returns the number of dispatches.
    pub(super) fn record(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        operations: Range<usize>,
        extents: &Extents,
        logits: LogitsWanted,
    ) -> u64 {
        let n_timed = match &self.profiler {
            None => 0,
            Some(profiler) => self.record_timed(encoder, operations.clone(), extents, profiler),
        };
        let mut recorder = Recorder::begin(encoder, None);
        if self.profiler.is_none() {
            self.program.record(&mut recorder, operations, extents);
        }
        if let Some(selection) = &self.selection {
            selection.record(&mut recorder, extents, logits);
        }
        n_timed + recorder.n_dispatches
    }

    /// Records each operation as a pass of its own, for its time.
    fn record_timed(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        operations: Range<usize>,
        extents: &Extents,
        profiler: &Profiler,
    ) -> u64 {
        let record = |index: usize| {
            let mut recorder = Recorder::begin(encoder, Some(profiler.stamps(index)));
            self.program.record(&mut recorder, index..index + 1, extents);
            recorder.n_dispatches
        };
        operations.map(record).sum()
    }

    /// The operations that the outputs of a step need.
    pub(super) fn operations(&self, outputs: &[OutputRow]) -> Range<usize> {
        let is_hidden = |output: &OutputRow| output.wanted == Wanted::Hidden;
        let is_short = !outputs.is_empty() && outputs.iter().all(is_hidden);
        0..if is_short { self.program.n_hidden_ops } else { self.program.n_ops() }
    }

    /// Submits the layers of a long step, each for itself, and returns the operations that remain: Windows resets a GPU that
    /// computes for two seconds. A step of few rows has one submission. Adds the dispatches to `traffic`.
    pub(super) fn submit_layers(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        operations: Range<usize>,
        extents: &Extents,
        traffic: &mut Traffic,
    ) -> Range<usize> {
        let Range { mut start, end } = operations;
        if LONG_STEP <= extents.n_tokens {
            for &next in self.plan.layer_starts.iter().filter(|next| **next < end) {
                traffic.n_dispatches += self.record(encoder, start..next, extents, LogitsWanted::Nothing);
                let layer = std::mem::replace(encoder, self.encoder());
                self.gpu.queue.submit([layer.finish()]);
                start = next;
            }
        }
        start..end
    }

    /// Records the copies of what is wanted.
    pub(super) fn record_results(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        to: &StepResults,
        logits: LogitsWanted,
    ) -> Results {
        let n_rows = to.outputs.len() as u64;
        let whole = |buffer: BufferId| {
            (self.program.buffer(buffer), n_rows * 4 * stride(self.plan.buffer(buffer).width) as u64)
        };
        let from_logits = match logits {
            LogitsWanted::All => self.plan.logits.map(whole),
            _ => self.selection.as_ref().and_then(|selection| selection.found(logits, n_rows)),
        };
        let is_hidden = |output: &OutputRow| output.wanted == Wanted::Hidden;
        let hidden = self.plan.hidden.filter(|_| to.outputs.iter().any(is_hidden)).map(whole);
        let mut at = 0;
        for (from, n_bytes) in [from_logits, hidden].into_iter().flatten() {
            encoder.copy_buffer_to_buffer(from, 0, to.memory.buffer(), at, n_bytes);
            at += n_bytes;
        }
        let bytes = |copied: Option<(&wgpu::Buffer, u64)>| copied.map_or(0, |(_, n_bytes)| n_bytes);
        Results { logits, logits_bytes: bytes(from_logits), hidden_bytes: bytes(hidden) }
    }

    /// Runs operations and reads what they left in a buffer of activations, without padding.
    pub(super) fn values(
        &self,
        operations: Range<usize>,
        extents: &Extents,
        out: BufferId,
    ) -> Result<Vec<f32>, ExecError> {
        let decl = self.plan.buffer(out);
        let n_bytes = 4 * stride(decl.width) as u64 * u64::from(extents.of(decl.rows));
        let copy = Readback::new(&self.gpu, n_bytes)
            .map_err(|_| ExecError::OutOfMemory { needed_bytes: n_bytes as usize })?;
        let mut encoder = self.encoder();
        self.record(&mut encoder, operations, extents, LogitsWanted::Nothing);
        if n_bytes > 0 {
            encoder.copy_buffer_to_buffer(self.program.buffer(out), 0, copy.buffer(), 0, n_bytes);
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let mut values = Vec::new();
        copy.read(&self.gpu, &submission, n_bytes, |bytes| {
            let rows = bytes.chunks_exact(4 * stride(decl.width));
            values.extend(rows.flat_map(|row| floats(row).take(decl.width)));
        })?;
        Ok(values)
    }
}

/// Little-endian values.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}
