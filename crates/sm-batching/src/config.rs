//! What the scheduler may do, with defaults and validation.

use crate::error::BatchingError;
use crate::policy::{BatchPolicy, Bucketed, Continuous, MemoryAware, Naive, PrefillOnly};

/// How requests are gathered into batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BatchingStrategy {
    /// The first in the queue, whatever their lengths; the next batch begins when all have ended.
    Naive,
    /// Prompts of similar length; the next batch begins when all have ended.
    Bucketed,
    /// As many as the limits of tokens and memory allow; the next batch begins when all have ended.
    MemoryAware,
    /// Sequences join and leave at every step.
    #[default]
    Continuous,
}

/// Who is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QueueOrder {
    /// The oldest.
    Fifo,
    /// The oldest of the key that was served least.
    RoundRobin,
    /// The highest priority, waiting counted in; then as [`QueueOrder::RoundRobin`].
    #[default]
    Priority,
}

/// What the bytes of a batch depend on: `fixed + n_sequences · len · per_token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMemory {
    /// Bytes that do not depend on the batch.
    pub fixed_bytes: u64,
    /// Bytes of one position of one sequence.
    pub bytes_per_token: u64,
}

impl BatchMemory {
    /// Bytes of a batch of `n_sequences` of at most `len` tokens.
    pub fn estimate(&self, n_sequences: usize, len: usize) -> u64 {
        let positions = (n_sequences as u64).saturating_mul(len as u64);
        self.fixed_bytes.saturating_add(positions.saturating_mul(self.bytes_per_token))
    }
}

/// How large the steps of the executor may be, and what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// Rows in a step.
    pub max_tokens: usize,
    /// Rows of a step whose logits are wanted.
    pub max_outputs: usize,
    /// Spans in a step.
    pub max_sequences: usize,
    /// Rows that the executor computes together: one row more than a multiple of it costs about as much as several.
    pub row_group: usize,
    /// The memory of a batch, for [`BatchingStrategy::MemoryAware`].
    pub memory: BatchMemory,
}

/// What the scheduler may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchingConfig {
    /// Off serves one request after the other, without waiting for company.
    pub enabled: bool,
    /// How batches are gathered.
    pub strategy: BatchingStrategy,
    /// Whether only prompts share steps, and each sequence decodes in steps of its own.
    pub prefill_only: bool,
    /// Sequences that run at a time; 0 for as many as the executor's steps may have.
    pub max_batch_size: usize,
    /// Whether fewer than `max_batch_size` run at a time while memory is short or, with `target_itl_us`, steps are late.
    pub adaptive: bool,
    /// How long an idle engine waits for company, in µs since the oldest request in the queue arrived.
    pub max_batch_wait_us: u64,
    /// Requests in the queue.
    pub max_queued_requests: usize,
    /// Prompt tokens in the queue; 0 for no limit.
    pub max_queued_tokens: usize,
    /// Rows in a step.
    pub max_step_tokens: usize,
    /// Rows that one prompt may have in a step; 0 for no limit but that of the step.
    pub max_chunk_tokens: usize,
    /// The inter-token latency, in µs, that chunks of prompts must not disturb: chunks become as small as necessary.
    pub target_itl_us: Option<u64>,
    /// Prompt tokens of a batch, counted as if padded to the longest; not for [`BatchingStrategy::Continuous`].
    pub max_total_tokens: usize,
    /// Bytes that a batch of [`BatchingStrategy::MemoryAware`] may have, with all that its sequences may generate.
    pub memory_limit_bytes: u64,
    /// Width of a bucket, in tokens.
    pub bucket_size: usize,
    /// Who is served first.
    pub order: QueueOrder,
    /// After this time in the queue, in µs, and each time again, a request is treated one level higher, up to high.
    pub priority_boost_after_us: u64,
    /// What a prompt token counts when keys are compared.
    pub prompt_weight: u32,
    /// What a generated token counts when keys are compared.
    pub output_weight: u32,
}

impl Default for BatchingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            strategy: BatchingStrategy::Continuous,
            prefill_only: false,
            max_batch_size: 8,
            adaptive: false,
            max_batch_wait_us: 10_000,
            max_queued_requests: 100,
            max_queued_tokens: 0,
            max_step_tokens: 512,
            max_chunk_tokens: 0,
            target_itl_us: None,
            max_total_tokens: 32_768,
            memory_limit_bytes: 4096 << 20,
            bucket_size: 128,
            order: QueueOrder::Priority,
            priority_boost_after_us: 5_000_000,
            prompt_weight: 1,
            output_weight: 2,
        }
    }
}

impl BatchingConfig {
    /// Many sequences at a time, and time to gather them.
    pub fn throughput() -> Self {
        Self { max_batch_size: 32, max_batch_wait_us: 50_000, ..Self::default() }
    }

    /// Whether all values can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn validate(&self) -> Result<(), BatchingError> {
        let positive = [
            ("max_queued_requests", self.max_queued_requests as u64),
            ("max_step_tokens", self.max_step_tokens as u64),
            ("max_total_tokens", self.max_total_tokens as u64),
            ("memory_limit_bytes", self.memory_limit_bytes),
            ("bucket_size", self.bucket_size as u64),
            ("target_itl_us", self.target_itl_us.unwrap_or(1)),
            ("priority_boost_after_us", self.priority_boost_after_us),
        ];
        let invalid = |field, value, reason| Err(BatchingError::InvalidConfig { field, value, reason });
        if let Some((field, value)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return invalid(field, value, "must be at least 1");
        }
        if self.max_step_tokens > u32::MAX as usize {
            return invalid("max_step_tokens", self.max_step_tokens as u64, "must fit 32 bits");
        }
        Ok(())
    }

    /// Whether all values can be used with an executor of these limits.
    ///
    /// # Errors
    /// The first that cannot.
    pub(crate) fn validate_with(&self, limits: &StepLimits) -> Result<(), BatchingError> {
        self.validate()?;
        let is_aware = self.strategy == BatchingStrategy::MemoryAware;
        if is_aware && limits.memory.estimate(1, 1) > self.memory_limit_bytes {
            let (field, value) = ("memory_limit_bytes", self.memory_limit_bytes);
            let reason = "must hold at least one token beside what is fixed";
            return Err(BatchingError::InvalidConfig { field, value, reason });
        }
        Ok(())
    }

    /// Whether there is no limit but that of the executor to the sequences that run at a time.
    pub fn is_unlimited(&self) -> bool {
        self.enabled && self.max_batch_size == 0
    }

    /// Sequences that run at a time, in steps of these limits.
    pub(crate) fn batch_size(&self, limits: &StepLimits) -> usize {
        let own = match (self.enabled, self.max_batch_size) {
            (false, _) => 1,
            (true, 0) => usize::MAX,
            (true, size) => size,
        };
        own.min(limits.max_sequences).min(limits.max_outputs).min(limits.max_tokens).min(self.max_step_tokens)
    }

    /// How long an idle engine waits for company, in µs.
    pub(crate) fn wait_us(&self) -> u64 {
        if self.enabled { self.max_batch_wait_us } else { 0 }
    }

    /// The policy of the strategy; `memory` is what batches take.
    pub fn policy(&self, memory: BatchMemory) -> Box<dyn BatchPolicy> {
        let policy: Box<dyn BatchPolicy> = match self.strategy {
            BatchingStrategy::Naive => Box::new(Naive { max_total_tokens: self.max_total_tokens }),
            BatchingStrategy::Bucketed => Box::new(Bucketed::new(self.bucket_size, self.max_total_tokens)),
            BatchingStrategy::MemoryAware => Box::new(MemoryAware {
                max_total_tokens: self.max_total_tokens,
                memory_limit_bytes: self.memory_limit_bytes,
                memory,
            }),
            BatchingStrategy::Continuous => Box::new(Continuous),
        };
        if self.prefill_only { Box::new(PrefillOnly(policy)) } else { policy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_presets_and_valid() {
        let config = BatchingConfig::default();
        assert_eq!(
            (config.max_batch_size, config.max_batch_wait_us, config.max_queued_requests),
            (8, 10_000, 100)
        );
        let throughput = BatchingConfig::throughput();
        assert_eq!((throughput.max_batch_size, throughput.max_batch_wait_us), (32, 50_000));
        assert_eq!((config.validate(), throughput.validate()), (Ok(()), Ok(())));
    }

    #[test]
    fn unusable_values_are_refused_with_their_names() {
        let refused = |config: BatchingConfig| config.validate().unwrap_err().to_string();
        let base = BatchingConfig::default;
        assert_eq!(
            refused(BatchingConfig { max_step_tokens: 0, ..base() }),
            "invalid max_step_tokens = 0: must be at least 1"
        );
        assert!(refused(BatchingConfig { target_itl_us: Some(0), ..base() }).contains("target_itl_us"));
        let limits = StepLimits { memory: BatchMemory { fixed_bytes: 8, bytes_per_token: 1 }, ..limits() };
        let strategy = BatchingStrategy::MemoryAware;
        let config = BatchingConfig { memory_limit_bytes: 8, strategy, ..base() };
        assert!(config.validate_with(&limits).unwrap_err().to_string().contains("memory_limit_bytes"));
        assert_eq!(BatchingConfig { memory_limit_bytes: 9, ..config }.validate_with(&limits), Ok(()));
    }

    fn limits() -> StepLimits {
        StepLimits {
            max_tokens: 64,
            max_outputs: 8,
            max_sequences: 8,
            row_group: 4,
            memory: BatchMemory::default(),
        }
    }

    #[test]
    fn off_means_one_at_a_time_and_no_waiting() {
        let config = BatchingConfig { enabled: false, ..BatchingConfig::default() };
        assert_eq!((config.batch_size(&limits()), config.wait_us()), (1, 0));
    }

    #[test]
    fn without_a_limit_the_executor_s_holds() {
        let config = BatchingConfig { max_batch_size: 0, ..BatchingConfig::default() };
        assert_eq!((config.validate(), config.batch_size(&limits())), (Ok(()), 8));
        assert!(config.is_unlimited() && !BatchingConfig { enabled: false, ..config }.is_unlimited());
    }
}
