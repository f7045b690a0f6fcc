//! The executor: a step is one command buffer with one pass, or one for each layer if it is long.

use std::ops::Range;
use std::sync::Arc;

use sm_tensor::PageId;

use super::binder::{Recorder, stride};
use super::device::Gpu;
use super::kv_pool::KvPool;
use super::profiler::Profiler;
use super::program::Program;
use super::readback::Readback;
use super::results::{LogitsWanted, Results, result_bytes};
use super::select::{ArgMax, PICK_BYTES};
use super::speed;
use super::step::{Extents, StepTables};
use super::weights::DeviceWeights;
use crate::plan::{
    BufferId, ExecError, Executor, ExecutorInfo, Limits, Op, OutputRow, Plan, PrepareError, Profile,
    StepBatch, StepOutput, Traffic, Wanted, Weights,
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
    weights: Arc<DeviceWeights>,
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
    profiler: Option<Profiler>,
}

/// A step that was not waited for.
#[derive(Debug)]
struct Submitted {
    submission: wgpu::SubmissionIndex,
    results: Results,
    /// Operations that it has.
    n_ops: usize,
    traffic: Traffic,
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
        let results = Readback::new(&gpu, result_bytes(plan, limits.max_outputs))?;
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
            weights,
            kv,
            tables,
            program,
            arg_max: arg_max.transpose()?,
            results,
            pages,
            input: Vec::new(),
            submitted: None,
            outputs: Vec::with_capacity(limits.max_outputs),
            profiler: None,
        })
    }

    /// Sends the rows that the caller brings to the plan's input buffer. Returns their bytes.
    fn send_input(&mut self, batch: &StepBatch<'_>) -> u64 {
        let input = self.plan.ops.iter().find_map(|op| match op {
            Op::Input(input) => Some(input.out),
            _ => None,
        });
        let (Some(buffer), Some(values)) = (input, batch.input) else { return 0 };
        let width = self.plan.buffer(buffer).width;
        self.input.clear();
        for row in values.chunks_exact(width) {
            self.input.extend_from_slice(row);
            self.input.resize(self.input.len().next_multiple_of(stride(1)), 0.0);
        }
        let bytes: &[u8] = bytemuck::cast_slice(&self.input);
        self.gpu.queue.write_buffer(self.program.buffer(buffer), 0, bytes);
        bytes.len() as u64
    }

    /// Records operations into a command buffer with one pass, and the search for the arg-max if `logits` says so. Returns the number
    /// of dispatches.
    fn record(
        &self,
        operations: Range<usize>,
        extents: &Extents,
        logits: LogitsWanted,
    ) -> (wgpu::CommandEncoder, u64) {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let n_timed = match &self.profiler {
            None => 0,
            Some(profiler) => self.record_timed(&mut encoder, operations.clone(), extents, profiler),
        };
        let mut recorder = Recorder::begin(&mut encoder, None);
        if self.profiler.is_none() {
            self.program.record(&mut recorder, operations, extents);
        }
        if let (LogitsWanted::ArgMax, Some(arg_max)) = (logits, &self.arg_max) {
            arg_max.record(&mut recorder, extents);
        }
        let n_dispatches = n_timed + recorder.n_dispatches;
        drop(recorder);
        (encoder, n_dispatches)
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
    fn operations(&self) -> Range<usize> {
        let is_hidden = |output: &OutputRow| output.wanted == Wanted::Hidden;
        let is_short = !self.outputs.is_empty() && self.outputs.iter().all(is_hidden);
        0..if is_short { self.program.n_hidden_ops } else { self.program.n_ops() }
    }

    /// Submits the layers of a long step, each for itself, and returns the operations that remain: Windows resets a GPU that
    /// computes for two seconds. A step of few rows has one submission. Adds the dispatches to `traffic`.
    fn submit_layers(&self, extents: &Extents, traffic: &mut Traffic) -> Range<usize> {
        let Range { mut start, end } = self.operations();
        if LONG_STEP <= extents.n_tokens {
            for &next in self.plan.layer_starts.iter().filter(|next| **next < end) {
                let (encoder, n_dispatches) = self.record(start..next, extents, LogitsWanted::Nothing);
                traffic.n_dispatches += n_dispatches;
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
        let (mut encoder, _) = self.record(operations, extents, LogitsWanted::Nothing);
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

/// Bytes that a plan takes beside weights and pages.
pub(crate) fn activation_bytes(plan: &Plan, limits: &Limits) -> usize {
    let results = result_bytes(plan, limits.max_outputs) as usize;
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
        if let Some(profiler) = &mut self.profiler {
            profiler.begin_step(&self.plan, batch, self.limits.kv_dtype);
        }
        let input_bytes = self.send_input(batch);
        self.outputs.clear();
        self.outputs.extend_from_slice(batch.outputs);
        let logits = LogitsWanted::of(&self.outputs);
        let mut traffic = Traffic { sent_bytes: self.tables.sent_bytes + input_bytes, ..Traffic::default() };
        let last = self.submit_layers(&extents, &mut traffic);
        let n_ops = last.end;
        let (mut encoder, n_dispatches) = self.record(last, &extents, logits);
        traffic.n_dispatches += n_dispatches;
        let results = self.record_results(&mut encoder, logits);
        traffic.read_bytes = results.n_bytes();
        if let Some(profiler) = &self.profiler {
            profiler.record_stamps(&mut encoder, n_ops);
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.submitted = Some(Submitted { submission, results, n_ops, traffic });
        Ok(())
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        let step = self.submitted.take().ok_or(ExecError::OutOfTurn)?;
        let Submitted { submission, results, n_ops, traffic } = &step;
        self.results.read(&self.gpu, submission, results.n_bytes(), |bytes| {
            results.read(&self.plan, &self.outputs, bytes, output);
        })?;
        match &mut self.profiler {
            None => Ok(()),
            Some(profiler) => profiler.end_step(&self.gpu, submission, *n_ops, *traffic),
        }
    }

    fn start_profile(&mut self) {
        // A device that cannot, has none.
        self.profiler = Profiler::new(&self.gpu, &self.plan).ok().flatten();
    }

    fn finish_profile(&mut self) -> Option<Profile> {
        let profiler = self.profiler.take()?;
        let speed = speed::measure(&self.gpu, &self.weights).ok()?;
        Some(profiler.finish(&self.plan, speed))
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
