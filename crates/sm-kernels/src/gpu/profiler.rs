//! Where the time of steps goes, while someone asks: each operation is then a pass of its own, between two time stamps of the device.

use std::time::{Duration, Instant};

use super::device::Gpu;
use super::readback::Readback;
use crate::plan::{ExecError, KvDType, OpProfile, Plan, PrepareError, Profile, Speed, StepBatch, Traffic};

/// Bytes of a time stamp.
const STAMP_BYTES: u64 = 8;

/// Adds up the time and work of steps.
#[derive(Debug)]
pub(crate) struct Profiler {
    /// The beginning and the end of each operation.
    stamps: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: Readback,
    /// When the present step began.
    began: Instant,
    n_steps: usize,
    time: Duration,
    ops: Vec<OpProfile>,
    traffic: Traffic,
}

impl Profiler {
    /// A profiler of a plan's steps; `None` if the device has no time stamps, or too few.
    ///
    /// # Errors
    /// If the device refuses memory.
    pub(crate) fn new(gpu: &Gpu, plan: &Plan) -> Result<Option<Self>, PrepareError> {
        let n_stamps = 2 * plan.ops.len() as u32;
        let is_able = gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        if !is_able || n_stamps > wgpu::QUERY_SET_MAX_QUERIES {
            return Ok(None);
        }
        let n_bytes = STAMP_BYTES * u64::from(n_stamps);
        let descriptor =
            wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: n_stamps };
        Ok(Some(Self {
            stamps: gpu.device.create_query_set(&descriptor),
            resolved: gpu.query_buffer("time stamps", n_bytes)?,
            readback: Readback::new(gpu, n_bytes)?,
            began: Instant::now(),
            n_steps: 0,
            time: Duration::ZERO,
            ops: vec![OpProfile::default(); plan.ops.len()],
            traffic: Traffic::default(),
        }))
    }

    /// A step begins.
    pub(crate) fn begin_step(&mut self, gpu: &Gpu, plan: &Plan, batch: &StepBatch<'_>, kv_dtype: KvDType) {
        for (measured, op) in self.ops.iter_mut().zip(&plan.ops) {
            let mut work = op.work(plan, batch, kv_dtype);
            // Kernels compute in single precision what they do not in int8.
            work.float_ops += std::mem::take(&mut work.bf16_ops);
            if !gpu.int8 {
                work.float_ops += std::mem::take(&mut work.int8_ops);
            }
            measured.work += work;
        }
        self.began = Instant::now();
    }

    /// The stamps around the pass of an operation.
    pub(crate) fn stamps(&self, op: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        let first = 2 * op as u32;
        wgpu::ComputePassTimestampWrites {
            query_set: &self.stamps,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        }
    }

    /// Records the copy of the stamps of the first `n_ops` operations.
    pub(crate) fn record_stamps(&self, encoder: &mut wgpu::CommandEncoder, n_ops: usize) {
        encoder.resolve_query_set(&self.stamps, 0..2 * n_ops as u32, &self.resolved, 0);
        let n_bytes = 2 * STAMP_BYTES * n_ops as u64;
        encoder.copy_buffer_to_buffer(&self.resolved, 0, self.readback.buffer(), 0, n_bytes);
    }

    /// The step, of the first `n_ops` operations, has ended.
    ///
    /// # Errors
    /// If the device is lost.
    pub(crate) fn end_step(
        &mut self,
        gpu: &Gpu,
        submission: &wgpu::SubmissionIndex,
        n_ops: usize,
        traffic: Traffic,
    ) -> Result<(), ExecError> {
        self.n_steps += 1;
        self.time += self.began.elapsed();
        self.traffic += traffic;
        let tick_ns = f64::from(gpu.queue.get_timestamp_period());
        let ops = &mut self.ops;
        self.readback.read(gpu, submission, 2 * STAMP_BYTES * n_ops as u64, |bytes| {
            let stamps: &[[u64; 2]] = bytemuck::cast_slice(bytes);
            for (measured, [begin, end]) in ops.iter_mut().zip(stamps) {
                let ns = end.saturating_sub(*begin) as f64 * tick_ns;
                measured.time += Duration::from_nanos(ns as u64);
            }
        })
    }

    /// What the steps took, beside the `speed` of the device.
    pub(crate) fn finish(self, plan: &Plan, speed: Speed) -> Profile {
        Profile { traffic: self.traffic, ..plan.profile(self.n_steps, self.time, &self.ops, speed) }
    }
}
