//! The executor: a step is one command buffer with one pass, or one for each layer if it is long.

mod record;

use std::collections::VecDeque;
use std::sync::Arc;

use sm_tensor::PageId;

use super::binder::stride;
use super::device::Gpu;
use super::kv_pool::KvPool;
use super::profiler::Profiler;
use super::program::Program;
use super::readback::Readback;
use super::results::{Results, result_bytes};
use super::select::{LogitsWanted, MAX_TOP, Selection};
use super::speed;
use super::step::StepTables;
use super::weights::DeviceWeights;
use crate::plan::{
    ExecError, Executor, ExecutorInfo, Limits, Op, OutputRow, Plan, PrepareError, Profile, StepBatch,
    StepOutput, Traffic, Weights,
};

/// Bytes of pages that are read at a time.
const PAGES_BYTES: u64 = 16 << 20;

/// Steps under way: one is computed while the host reads the results of the one before.
const MAX_IN_FLIGHT: usize = 2;

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
    selection: Option<Selection>,
    /// For each step under way; those not in use.
    results: Vec<StepResults>,
    pages: Readback,
    /// What the caller brings, with padding.
    input: Vec<f32>,
    submitted: VecDeque<Submitted>,
    profiler: Option<Profiler>,
}

/// Where the results of a step go, and what they are.
#[derive(Debug)]
struct StepResults {
    memory: Readback,
    outputs: Vec<OutputRow>,
}

/// A step that was not waited for.
#[derive(Debug)]
struct Submitted {
    submission: wgpu::SubmissionIndex,
    to: StepResults,
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
        let selection = plan.logits.map(|logits| {
            Selection::new(&gpu, program.buffer(logits), plan.vocab_size(), limits.max_outputs)
        });
        let page_bytes = kv.page_bytes() as u64;
        let pages = Readback::new(&gpu, (PAGES_BYTES / page_bytes.max(1)).max(1) * page_bytes)?;
        let results = (0..MAX_IN_FLIGHT).map(|_| {
            let memory = Readback::new(&gpu, result_bytes(plan, limits.max_outputs))?;
            Ok(StepResults { memory, outputs: Vec::with_capacity(limits.max_outputs) })
        });
        let results = results.collect::<Result<_, PrepareError>>()?;
        gpu.check_loading()?;
        let info = ExecutorInfo {
            kernels: format!("gpu {}", gpu.adapter),
            n_workers: 1,
            // Products of few rows take 4 at a time.
            row_group: 4,
            max_top_k: MAX_TOP,
            weight_bytes: weights.n_bytes(),
            kv_bytes: KvPool::needed_bytes(&plan.cache, limits.n_pages, limits.kv_dtype),
            activation_bytes: activation_bytes(&gpu, plan, &limits),
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
            selection: selection.transpose()?,
            results,
            pages,
            input: Vec::new(),
            submitted: VecDeque::with_capacity(MAX_IN_FLIGHT),
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

    /// Starts a step; if it `follows`, with the tokens that the step before it names.
    fn start(&mut self, batch: &StepBatch<'_>, follows: bool) -> Result<(), ExecError> {
        if self.submitted.len() >= self.max_in_flight() {
            return Err(ExecError::OutOfTurn);
        }
        self.gpu.check()?;
        // What is sent arrives before the step's own commands, and after those of the step before.
        let extents = self.tables.set(&self.gpu, batch)?;
        if let Some(profiler) = &mut self.profiler {
            profiler.begin_step(&self.gpu, &self.plan, batch, self.limits.kv_dtype);
        }
        let input_bytes = self.send_input(batch);
        let mut to = self.results.pop().ok_or(ExecError::OutOfTurn)?;
        to.outputs.clear();
        to.outputs.extend_from_slice(batch.outputs);
        let logits = LogitsWanted::of(&to.outputs);
        let mut traffic = Traffic { sent_bytes: self.tables.sent_bytes + input_bytes, ..Traffic::default() };
        let mut encoder = self.encoder();
        if let (true, Some(selection)) = (follows, &self.selection) {
            selection.copy_tokens(&mut encoder, &self.tables, extents.n_tokens);
        }
        let operations = self.operations(&to.outputs);
        let last = self.submit_layers(&mut encoder, operations, &extents, &mut traffic);
        let n_ops = last.end;
        traffic.n_dispatches += self.record(&mut encoder, last, &extents, logits);
        let results = self.record_results(&mut encoder, &to, logits);
        traffic.read_bytes = results.n_bytes();
        if let Some(profiler) = &self.profiler {
            profiler.record_stamps(&mut encoder, n_ops);
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.submitted.push_back(Submitted { submission, to, results, n_ops, traffic });
        Ok(())
    }
}

/// Bytes that a plan takes beside weights and pages.
pub(crate) fn activation_bytes(gpu: &Gpu, plan: &Plan, limits: &Limits) -> usize {
    let results = MAX_IN_FLIGHT * result_bytes(plan, limits.max_outputs) as usize;
    let selection = Selection::needed_bytes(limits.max_outputs);
    [Program::needed_bytes(gpu, plan, limits), StepTables::needed_bytes(plan, limits), results, selection]
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
        self.start(batch, false)
    }

    fn submit_next(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError> {
        let names_tokens = |step: &Submitted| {
            step.results.logits == LogitsWanted::ArgMax && step.to.outputs.len() == batch.tokens.len()
        };
        if !self.submitted.back().is_some_and(names_tokens) {
            return Err(ExecError::OutOfTurn);
        }
        self.start(batch, true)
    }

    fn max_in_flight(&self) -> usize {
        // The time stamps are of one step.
        if self.profiler.is_some() { 1 } else { MAX_IN_FLIGHT }
    }

    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError> {
        output.clear();
        let step = self.submitted.pop_front().ok_or(ExecError::OutOfTurn)?;
        let Submitted { submission, to, results, n_ops, traffic } = step;
        let read = to.memory.read(&self.gpu, &submission, results.n_bytes(), |bytes| {
            results.read(&self.plan, &to.outputs, bytes, output);
        });
        self.results.push(to);
        read?;
        match &mut self.profiler {
            None => Ok(()),
            Some(profiler) => profiler.end_step(&self.gpu, &submission, n_ops, traffic),
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
        let mut encoder = self.encoder();
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
            let mut encoder = self.encoder();
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
        if !self.submitted.is_empty() {
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
