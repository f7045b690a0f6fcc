//! What is wanted of rows of logits, found where the logits are: a greedy step then sends back 8 bytes for each sequence, and one that
//! samples among the first K tokens a kilobyte, in place of the whole vocabulary.

use std::sync::Arc;

use super::binder::{Params, Recorder, params, stride};
use super::device::Gpu;
use super::kernel::{Binding, Kernel, KernelSpec, Source};
use super::step::{Extents, StepTables, token_at};
use crate::plan::{OutputRow, PrepareError, Wanted};

const BINDINGS: [Binding; 2] = [Binding::Read, Binding::ReadWrite];

/// The largest K that is found here.
pub(crate) const MAX_TOP: usize = 128;

/// Bytes of a token and its logit.
pub(crate) const PICK_BYTES: u64 = 8;

/// Bytes of a row of first tokens: the largest logit, the sum of exponentials, and the tokens with their logits.
pub(crate) const TOP_BYTES: u64 = PICK_BYTES * (MAX_TOP as u64 + 1);

/// What is wanted of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogitsWanted {
    Nothing,
    /// The arg-max of each row, found on the device.
    ArgMax,
    /// At most this many first tokens of each row, found on the device.
    Top(usize),
    /// All of them, for the host to select from.
    All,
}

impl LogitsWanted {
    /// What the outputs of a step want.
    pub(crate) fn of(outputs: &[OutputRow]) -> Self {
        let wanted = || outputs.iter().map(|output| output.wanted).filter(|wanted| *wanted != Wanted::Hidden);
        let n_first = |wanted| match wanted {
            Wanted::ArgMax => 1,
            Wanted::TopK(k) => k as usize,
            _ => usize::MAX,
        };
        match wanted().map(n_first).max() {
            None => Self::Nothing,
            Some(_) if wanted().all(|wanted| wanted == Wanted::ArgMax) => Self::ArgMax,
            Some(k) if k <= MAX_TOP => Self::Top(k),
            Some(_) => Self::All,
        }
    }
}

/// Finds the first tokens of rows.
#[derive(Debug)]
pub(crate) struct Selection {
    arg_max: Search,
    top: Search,
}

/// A kernel that looks for something in rows.
#[derive(Debug)]
struct Search {
    kernel: Arc<Kernel>,
    buffers: wgpu::BindGroup,
    params: Params,
    found: wgpu::Buffer,
}

impl Search {
    fn new(
        gpu: &Gpu,
        spec: &KernelSpec,
        logits: &wgpu::Buffer,
        vocab_size: usize,
        n_bytes: u64,
    ) -> Result<Self, PrepareError> {
        let found = gpu.buffer("results", n_bytes)?;
        let kernel = gpu.kernel(spec)?;
        let buffers = gpu.bind(&kernel, &[logits, &found]);
        let params = params(&[0, vocab_size as u32, stride(vocab_size) as u32, 0]);
        Ok(Self { kernel, buffers, params, found })
    }

    fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents, k: usize) {
        let mut params = self.params;
        params[0] = extents.n_outputs;
        params[3] = params[1].min(k as u32);
        recorder.dispatch(&self.kernel, &self.buffers, &params, [1, extents.n_outputs, 1]);
    }
}

impl Selection {
    /// For up to `max_rows` rows of `vocab_size` logits.
    ///
    /// # Errors
    /// If the device refuses memory or a kernel.
    pub(crate) fn new(
        gpu: &Gpu,
        logits: &wgpu::Buffer,
        vocab_size: usize,
        max_rows: usize,
    ) -> Result<Self, PrepareError> {
        let [arg_max, top] = specs();
        let n_rows = max_rows as u64;
        Ok(Self {
            arg_max: Search::new(gpu, &arg_max, logits, vocab_size, PICK_BYTES * n_rows)?,
            top: Search::new(gpu, &top, logits, vocab_size, TOP_BYTES * n_rows)?,
        })
    }

    /// Bytes that `max_rows` rows take.
    pub(crate) fn needed_bytes(max_rows: usize) -> usize {
        (PICK_BYTES + TOP_BYTES) as usize * max_rows
    }

    /// What was found of logits of `n_rows` rows, in a buffer of this many bytes; nothing if all of them are wanted, or none.
    pub(crate) fn found(&self, wanted: LogitsWanted, n_rows: u64) -> Option<(&wgpu::Buffer, u64)> {
        match wanted {
            LogitsWanted::ArgMax => Some((&self.arg_max.found, PICK_BYTES * n_rows)),
            LogitsWanted::Top(_) => Some((&self.top.found, TOP_BYTES * n_rows)),
            LogitsWanted::Nothing | LogitsWanted::All => None,
        }
    }

    /// Records the search for what is wanted in every output row.
    pub(crate) fn record(&self, recorder: &mut Recorder<'_>, extents: &Extents, wanted: LogitsWanted) {
        match wanted {
            LogitsWanted::ArgMax => self.arg_max.record(recorder, extents, 1),
            LogitsWanted::Top(k) => self.top.record(recorder, extents, k),
            LogitsWanted::Nothing | LogitsWanted::All => {}
        }
    }

    /// Makes the arg-max of rows the tokens of as many rows of the next step, whose tables are sent.
    pub(crate) fn copy_tokens(&self, encoder: &mut wgpu::CommandEncoder, tables: &StepTables, n_rows: u32) {
        for row in 0..u64::from(n_rows) {
            encoder.copy_buffer_to_buffer(
                &self.arg_max.found,
                PICK_BYTES * row,
                &tables.rows,
                token_at(row),
                4,
            );
        }
    }
}

/// The kernels: the arg-max, and the first tokens.
pub(crate) fn specs() -> [KernelSpec; 2] {
    let rank = || Source::default().text(include_str!("rank.wgsl"));
    let arg_max = rank().text(include_str!("arg_max.wgsl"));
    let top = rank().number("MAX_TOP", MAX_TOP).text(include_str!("top_k.wgsl"));
    let spec = |name, source| KernelSpec { name, source, bindings: &BINDINGS };
    [spec("arg_max", arg_max), spec("top_k", top)]
}
