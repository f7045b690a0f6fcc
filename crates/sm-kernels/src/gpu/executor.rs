//! The executor: a step is one command buffer with one pass, or one for each layer if it is long.

use std::ops::Range;
use std::sync::Arc;

use sm_tensor::{PageId, TokenId};

use super::binder::stride;
use super::device::Gpu;
use super::kv_pool::KvPool;
use super::program::Program;
use super::readback::Readback;
use super::select::{ArgMax, PICK_BYTES};
use super::step::{Extents, StepTables};
use super::weights::DeviceWeights;
use crate::plan::{
    BufferId, ExecError, Executor, ExecutorInfo, Limits, Op, OutputRow, Plan, PrepareError, StepBatch,
    StepOutput, Wanted, Weights,
};

/// Bytes of pages that are read at a time.
const PAGES_BYTES: u64 = 16 << 20;

/// Rows from which on each layer is a submission.
const LONG_STEP: u32 = 64;

/// A plan made ready to run on a device.
#[derive(Debug)]
pub(crate) struct GpuExecutor {
    info: ExecutorInfo,
    limits: Limits,
    plan: Plan,
    gpu: Arc<Gpu>,
    /// Kept for as long as the program reads them.
    _weights: Arc<DeviceWeights>,
    kv: KvPool,
    tables: StepTables,
    program: Program,
    /// None without logits.
    arg_max: Option<ArgMax>,
    results: Readback,
    pages: Readback,
    /// What the caller brings, with padding.
    input: Vec<f32>,
    submitted: Option<Submitted>,
    outputs: Vec<OutputRow>,
}

/// A step that was not waited for.
#[derive(Debug)]
struct Submitted {
    submission: wgpu::SubmissionIndex,
    results: Results,
}

/// Where results lie, in bytes: logits or what was picked of them, then hidden states.
#[derive(Clone, Copy, Debug)]
struct Results {
    logits: LogitsWanted,
    logits_bytes: u64,
    hidden_bytes: u64,
}

/// What is wanted of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogitsWanted {
    Nothing,
    /// The arg-max of each row, found on the device.
    ArgMax,
    /// All of them, for the host to select from.
    All,
}

impl LogitsWanted {
    fn of(outputs: &[OutputRow]) -> Self {
        let wanted = || outputs.iter().map(|output| output.wanted).filter(|wanted| *wanted != Wanted::Hidden);
        match wanted().next() {
            None => Self::Nothing,
            Some(_) if wanted().all(|wanted| wanted == Wanted::ArgMax) => Self::ArgMax,
            Some(_) => Self::All,
        }
    }
}

impl GpuExecutor {
    /// Prepares a plan on weights of its own.
    ///
    /// # Errors
    /// If the plan has what this backend lacks, or the device refuses memory or a kernel.
    pub(crate) fn new(
        plan: &Plan,
        weights: Arc<DeviceWeights>,
        limits: Limits,
    ) -> Result<Self, PrepareError> {
        let gpu = Arc::clone(&weights.gpu);
        let kv = KvPool::new(&gpu, &plan.cache, limits.n_pages, limits.kv_dtype)?;
        let tables = StepTables::new(&gpu, plan, &limits)?;
        let program = Program::bind(&gpu, plan, &limits, &weights, &kv, &tables)?;
        let arg_max = plan
            .logits
            .map(|logits| ArgMax::new(&gpu, program.buffer(logits), plan.vocab_size(), limits.max_outputs));
        let page_bytes = kv.page_bytes() as u64;
        let pages = Readback::new(&gpu, (PAGES_BYTES / page_bytes.max(1)).max(1) * page_bytes)?;
        let results = Readback::new(&gpu, result_bytes(plan, &limits))?;
        gpu.check_loading()?;
        let info = ExecutorInfo {
            kernels: format!("gpu {}", gpu.adapter),
            n_workers: 1,
            // Products of few rows take 4 at a time.
            row_group: 4,
            weight_bytes: weights.n_bytes(),
            kv_bytes: KvPool::needed_bytes(&plan.cache, limits.n_pages, limits.kv_dtype),
            activation_bytes: activation_bytes(plan, &limits),
        };
        Ok(Self {
            info,
            limits,
            plan: plan.clone(),
            gpu,
            _weights: weights,
            kv,
            tables,
            program,
            arg_max: arg_max.transpose()?,
            results,
            pages,
            input: Vec::new(),
            submitted: None,
            outputs: Vec::with_capacity(limits.max_outputs),
        })
    }

    /// Sends the rows that the caller brings to the plan's input buffer.
    fn send_input(&mut self, batch: &StepBatch<'_>) {
        let input = self.plan.ops.iter().find_map(|op| match op {
            Op::Input(input) => Some(input.out),
            _ => None,
        });
        let (Some(buffer), Some(values)) = (input, batch.input) else { return };
        let width = self.plan.buffer(buffer).width;
        self.input.clear();
        for row in values.chunks_exact(width) {
            self.input.extend_from_slice(row);
            self.input.resize(self.input.len().next_multiple_of(stride(1)), 0.0);
        }
        self.gpu.queue.write_buffer(self.program.buffer(buffer), 0, bytemuck::cast_slice(&self.input));
    }

    /// Records operations into a command buffer with one pass, and the search for the arg-max if `logits` says so.
    fn record(
        &self,
        operations: Range<usize>,
        extents: &Extents,
        logits: LogitsWanted,
    ) -> wgpu::CommandEncoder {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.program.record(&mut pass, operations, extents);
        if let (LogitsWanted::ArgMax, Some(arg_max)) = (logits, &self.arg_max) {
            arg_max.record(&mut pass, extents);
        }
        drop(pass);
        encoder
    }

    /// The operations that the outputs of a step need.
    fn operations(&self) -> Range<usize> {
        let is_hidden = |output: &OutputRow| output.wanted == Wanted::Hidden;
        let is_short = !self.outputs.is_empty() && self.outputs.iter().all(is_hidden);
        0..if is_short { self.program.n_hidden_ops } else { self.program.n_ops() }
    }

    /// Submits the layers of a long step, each for itself, and returns the operations that remain: Windows resets a GPU that
    /// computes for two seconds. A step of few rows has one submission.
    fn submit_layers(&self, extents: &Extents) -> Range<usize> {
        let Range { mut start, end } = self.operations();
        if LONG_STEP <= extents.n_tokens {
            for &next in self.plan.layer_starts.iter().filter(|next| **next < end) {
                let encoder = self.record(start..next, extents, LogitsWanted::Nothing);
                self.gpu.queue.submit([encoder.finish()]);
                start = next;
            }
        }
        start..end
    }

    /// Records the copies of what is wanted.
    fn record_results(&self, encoder: &mut wgpu::CommandEncoder, logits: LogitsWanted) -> Results {
        let n_rows = self.outputs.len() as u64;
        let whole = |buffer: BufferId| {
            (self.program.buffer(buffer), n_rows * 4 * stride(self.plan.buffer(buffer).width) as u64)
        };
        let from_logits = match logits {
            LogitsWanted::Nothing => None,
            LogitsWanted::ArgMax => {
                self.arg_max.as_ref().map(|arg_max| (&arg_max.picked, n_rows * PICK_BYTES))
            }
            LogitsWanted::All => self.plan.logits.map(whole),
        };
        let is_hidden = |output: &OutputRow| output.wanted == Wanted::Hidden;
        let hidden = self.plan.hidden.filter(|_| self.outputs.iter().any(is_hidden)).map(whole);
        let mut at = 0;
        for (from, n_bytes) in [from_logits, hidden].into_iter().flatten() {
            encoder.copy_buffer_to_buffer(from, 0, self.results.buffer(), at, n_bytes);
            at += n_bytes;
        }
        let bytes = |copied: Option<(&wgpu::Buffer, u64)>| copied.map_or(0, |(_, n_bytes)| n_bytes);
        Results { logits, logits_bytes: bytes(from_logits), hidden_bytes: bytes(hidden) }
    }

    /// Runs operations and reads what they left in a buffer of activations, without padding.
    fn values(
        &self,
        operations: Range<usize>,
        extents: &Extents,
        out: BufferId,
    ) -> Result<Vec<f32>, ExecError> {
        let decl = self.plan.buffer(out);
        let n_bytes = 4 * stride(decl.width) as u64 * u64::from(extents.of(decl.rows));
        let copy = Readback::new(&self.gpu, n_bytes)
            .map_err(|_| ExecError::OutOfMemory { needed_bytes: n_bytes as usize })?;
        let mut encoder = self.record(operations, extents, LogitsWanted::Nothing);
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

/// Bytes of all logits and hidden states of a step.
fn result_bytes(plan: &Plan, limits: &Limits) -> u64 {
    let widths = plan.logits.into_iter().chain(plan.hidden).map(|buffer| stride(plan.buffer(buffer).width));
    4 * widths.sum::<usize>() as u64 * limits.max_outputs as u64
}

/// Bytes that a plan takes beside weights and pages.
pub(crate) fn activation_bytes(plan: &Plan, limits: &Limits) -> usize {
    let results = result_bytes(plan, limits) as usize;
    [Program::needed_bytes(plan, limits), StepTables::needed_bytes(plan, limits), results]
        .into_iter()
        .fold(0, usize::saturating_add)
}

impl Executor for GpuExecutor {
    fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        if self.submitted.is_some() {
            return Err(ExecError::OutOfTurn);
        }
        self.gpu.check()?;
        let extents = self.tables.set(&self.gpu, batch)?;
        self.send_input(batch);
        self.outputs.clear();
        self.outputs.extend_from_slice(batch.outputs);
        let logits = LogitsWanted::of(&self.outputs);
        let last = self.submit_layers(&extents);
        let mut encoder = self.record(last, &extents, logits);
        let results = self.record_results(&mut encoder, logits);
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.submitted = Some(Submitted { submission, results });
        Ok(())
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        let Submitted { submission, results } = self.submitted.take().ok_or(ExecError::OutOfTurn)?;
        let stride_bytes =
            |buffer: Option<BufferId>| buffer.map_or(1, |id| 4 * stride(self.plan.buffer(id).width));
        let logits_stride = stride_bytes(self.plan.logits);
        let hidden_stride = stride_bytes(self.plan.hidden);
        let (vocab_size, hidden_size) = (self.plan.vocab_size(), self.plan.hidden_size());
        let outputs = &self.outputs;
        let n_bytes = results.logits_bytes + results.hidden_bytes;
        self.results.read(&self.gpu, &submission, n_bytes, |bytes| {
            let (logits, hidden) = bytes.split_at(results.logits_bytes as usize);
            for (index, wanted) in outputs.iter().map(|output| output.wanted).enumerate() {
                if wanted == Wanted::Hidden {
                    output.push_hidden(bytemuck::cast_slice(
                        &hidden[index * hidden_stride..][..4 * hidden_size],
                    ));
                } else if results.logits == LogitsWanted::ArgMax {
                    let [token, logit] = *bytemuck::from_bytes(&logits[index * PICK_BYTES as usize..][..8]);
                    output.push_arg_max(TokenId(token), f32::from_bits(logit));
                } else {
                    let row = &logits[index * logits_stride..][..4 * vocab_size];
                    output.push_logits(wanted, bytemuck::cast_slice(row));
                }
            }
        })
    }

    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError> {
        self.kv.check(from_to.iter().flat_map(|&(from, to)| [from, to]))?;
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        from_to.iter().for_each(|&(from, to)| self.kv.copy_page(&mut encoder, from, to));
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.check()
    }

    fn page_bytes(&self) -> usize {
        self.kv.page_bytes()
    }

    fn read_pages(&mut self, pages: &[PageId], bytes: &mut [u8]) -> Result<(), ExecError> {
        self.kv.check_copy(pages, bytes.len())?;
        let page_bytes = self.page_bytes();
        if page_bytes == 0 {
            return Ok(());
        }
        let at_once = self.pages.n_bytes() as usize / page_bytes;
        for (pages, bytes) in pages.chunks(at_once).zip(bytes.chunks_mut(at_once * page_bytes)) {
            let mut encoder =
                self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for (index, page) in pages.iter().enumerate() {
                let at = (index * page_bytes) as u64;
                self.kv.read_page(&mut encoder, *page, self.pages.buffer(), at);
            }
            let submission = self.gpu.queue.submit([encoder.finish()]);
            let n_bytes = bytes.len() as u64;
            self.pages.read(&self.gpu, &submission, n_bytes, |read| bytes.copy_from_slice(read))?;
        }
        Ok(())
    }

    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError> {
        self.kv.check_copy(pages, bytes.len())?;
        let each = bytes.chunks_exact(self.page_bytes().max(1));
        pages.iter().zip(each).for_each(|(page, bytes)| self.kv.write_page(&self.gpu, *page, bytes));
        self.gpu.queue.submit([]);
        self.gpu.check()
    }

    fn trace(
        &mut self,
        batch: &StepBatch<'_>,
        visit: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ExecError> {
        if self.submitted.is_some() {
            return Err(ExecError::OutOfTurn);
        }
        self.gpu.check()?;
        let extents = self.tables.set(&self.gpu, batch)?;
        self.send_input(batch);
        for index in 0..self.plan.ops.len() {
            let out = self.plan.ops[index].writes()[0].buffer;
            visit(index, &self.values(index..index + 1, &extents, out)?);
        }
        Ok(())
    }
}
