//! The configuration that an engine really uses.

use sm_batching::{BatchingConfig, Scheduler, StepLimits};
use sm_kernels::plan::{Executor, ExecutorInfo, Limits};

use super::EngineConfig;
use crate::{Device, ExecutorOptions, LoadOptions, LoadedModel, Threads};

impl EngineConfig {
    /// The values in use, where this one leaves them to the model, the machine or a default.
    pub(crate) fn resolved(
        &self,
        model: &LoadedModel,
        executor: &dyn Executor,
        scheduler: &Scheduler,
        step_limits: &StepLimits,
    ) -> Self {
        let Limits { max_tokens, max_outputs, max_sequences, kv_dtype, .. } = *executor.limits();
        let info = executor.info();
        let n_sequences = self.n_sequences().min(max_sequences);
        let executor = ExecutorOptions {
            kv_dtype,
            n_sequences,
            n_reserved_sequences: max_sequences - n_sequences,
            max_step_tokens: max_tokens,
            max_outputs,
            kv_bytes: Some(info.kv_bytes as u64),
            ..self.executor.clone()
        };
        let load = LoadOptions {
            device: device(&self.load.device, info),
            context_len: Some(model.context_len()),
            ..self.load.clone()
        };
        Self { load, executor, batching: batching(&self.batching, scheduler, step_limits), ..self.clone() }
    }
}

/// The device in use.
fn device(wanted: &Device, info: &ExecutorInfo) -> Device {
    match (wanted, info.kernels.strip_prefix("cpu ")) {
        (Device::Split { .. }, _) => wanted.clone(),
        (Device::Cpu { threads: Threads::Exactly(n), .. }, Some(isa)) => {
            Device::Cpu { isa: Some(isa.to_owned()), threads: Threads::Exactly(*n) }
        }
        (_, Some(isa)) => Device::Cpu { isa: Some(isa.to_owned()), threads: Threads::AtMost(info.n_workers) },
        (_, None) => wanted.clone(),
    }
}

fn batching(config: &BatchingConfig, scheduler: &Scheduler, step_limits: &StepLimits) -> BatchingConfig {
    let limits = config.limits(step_limits.memory);
    let max_step_tokens = config.max_step_tokens.min(step_limits.max_tokens);
    let mut resolved = config.clone();
    resolved.max_batch_size = scheduler.batch_size();
    resolved.max_step_tokens = max_step_tokens;
    resolved.max_chunk_tokens = match config.max_chunk_tokens {
        0 => max_step_tokens,
        n => n.min(max_step_tokens),
    };
    resolved.max_total_tokens = Some(limits.max_total_tokens).filter(|limit| *limit < usize::MAX);
    resolved.memory_limit_bytes = Some(limits.memory_limit_bytes).filter(|limit| *limit < u64::MAX);
    if !config.enabled {
        resolved.max_batch_wait_us = 0;
    }
    resolved
}
