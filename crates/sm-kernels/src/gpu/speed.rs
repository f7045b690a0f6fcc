//! Measures the roofline of a device (Williams et al. 2009): bandwidth of reading the weights it has, and peak arithmetic of single
//! precision, of int8 and of cooperative matrices, by the instructions that the kernels use.
//!
//! The host's clock times submissions that are made long enough for what surrounds them not to count.

use std::time::{Duration, Instant};

use super::binder::{Recorder, params};
use super::device::Gpu;
use super::kernel::{Binding, KernelSpec, Source};
use super::matrices::Matrices;
use super::weights::DeviceWeights;
use crate::plan::{PrepareError, Speed};

/// What a measurement takes at least.
const LEAST_TIME: Duration = Duration::from_millis(20);
/// The best of several runs counts, since other work on the machine can only slow one down.
const N_RUNS: usize = 3;
/// Workgroups of 64 lanes at most: enough for any device.
const N_GROUPS: u32 = 4096;
/// Additions and multiplications of a lane in a round of `speed_float.wgsl`: 8 chains of 4 values.
const FLOAT_OPS_PER_ROUND: f64 = 64.0;
/// The same of `speed_int8.wgsl`: 8 chains of 4 products of four bytes.
const INT8_OPS_PER_ROUND: f64 = 256.0;
/// Products of a workgroup in a round of `speed_matrices.wgsl`.
const MATRICES_PER_ROUND: f64 = 8.0;

/// The kernel that multiplies cooperative matrices.
pub(crate) fn matrices_spec(matrices: Matrices) -> KernelSpec {
    let source = Source::default()
        .matrices(matrices)
        .number("LANES", matrices.max_subgroup as usize)
        .text(include_str!("speed_matrices.wgsl"));
    KernelSpec { name: "matrix speed", source, bindings: &[Binding::ReadWrite] }
}

/// The kernels that every device runs.
pub(crate) fn specs() -> [KernelSpec; 3] {
    let read = Source::default().text(include_str!("speed_read.wgsl"));
    let float = Source::default().text(include_str!("speed_float.wgsl"));
    let int8 = Source::default().text(include_str!("speed_int8.wgsl"));
    [
        KernelSpec { name: "read speed", source: read, bindings: &[Binding::Read, Binding::ReadWrite] },
        KernelSpec { name: "float speed", source: float, bindings: &[Binding::ReadWrite] },
        KernelSpec { name: "int8 speed", source: int8, bindings: &[Binding::ReadWrite] },
    ]
}

/// Measures a device with the weights of a model on it.
///
/// # Errors
/// If it refuses a kernel or memory, or is lost.
pub(crate) fn measure(gpu: &Gpu, weights: &DeviceWeights) -> Result<Speed, PrepareError> {
    let [read, float, int8] = specs();
    let read = gpu.kernel(&read)?;
    let out = gpu.buffer("results", 4 * 64 * u64::from(N_GROUPS))?;
    let planes: Vec<_> =
        weights.planes().map(|plane| (gpu.bind(&read, &[plane, &out]), plane.size())).collect();
    let n_bytes: u64 = planes.iter().map(|(_, n_bytes)| n_bytes).sum();
    let reads_per_second = rate(gpu, |recorder, n_times| {
        for _ in 0..n_times {
            for (buffers, n_bytes) in &planes {
                let n_vectors = (n_bytes / 16) as u32;
                let n_groups = n_vectors.div_ceil(64).min(N_GROUPS);
                recorder.dispatch(&read, buffers, &params(&[n_vectors, 64 * n_groups]), [n_groups, 1, 1]);
            }
        }
    })?;
    // Of a workgroup.
    let ops = |spec: &KernelSpec, ops_per_round: f64| {
        let kernel = gpu.kernel(spec)?;
        let buffers = gpu.bind(&kernel, &[&out]);
        let rounds_per_second = rate(gpu, |recorder, n_times| {
            recorder.dispatch(&kernel, &buffers, &params(&[n_times]), [N_GROUPS, 1, 1]);
        })?;
        Ok::<_, PrepareError>(rounds_per_second * ops_per_round * f64::from(N_GROUPS))
    };
    let float_ops = ops(&float, 64.0 * FLOAT_OPS_PER_ROUND)?;
    let (bf16_ops, int8_ops) = match gpu.matrices() {
        // They multiply by all these weights. Where subgroups are smaller than they may be, they do more than is counted.
        Some(matrices) => {
            let ops_per_matrix = 2.0 * f64::from(matrices.side).powi(3);
            let matrix_ops = ops(&matrices_spec(matrices), MATRICES_PER_ROUND * ops_per_matrix)?;
            (matrix_ops, matrix_ops)
        }
        None => (float_ops, ops(&int8, 64.0 * INT8_OPS_PER_ROUND)?),
    };
    let read_bytes = reads_per_second * n_bytes as f64;
    Ok(Speed { read_bytes, float_ops, bf16_ops, int8_ops })
}

/// How often per second the device does what `record` records once for each time that it is told.
///
/// # Errors
/// If the device is lost.
pub(crate) fn rate(gpu: &Gpu, record: impl Fn(&mut Recorder<'_>, u32)) -> Result<f64, PrepareError> {
    let run = |n_times| {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut Recorder::begin(&mut encoder, None), n_times);
        let commands = encoder.finish();
        let began = Instant::now();
        let submission = gpu.queue.submit([commands]);
        // What is wrong is said by the check.
        let _ = gpu.wait(Some(submission));
        gpu.check_loading().map(|()| began.elapsed())
    };
    let mut n_times = 1;
    while run(n_times)? < LEAST_TIME && n_times < 1 << 16 {
        n_times *= 2;
    }
    let mut best = Duration::MAX;
    for _ in 0..N_RUNS {
        best = best.min(run(n_times)?);
    }
    Ok(f64::from(n_times) / best.as_secs_f64())
}
