//! Scheduler settings, defaults and validation.

use sm_tensor::{setters, some_setters};

use crate::error::BatchingError;
use crate::policy::{BatchLimits, BatchMemory, BatchPolicy, Bucketed, Continuous, Naive, PrefillOnly};

/// Prompt tokens of a static batch, if no limit is set.
const STATIC_TOKENS: usize = 32_768;
/// Bytes of a [`BatchingStrategy::MemoryAware`] batch, if no limit is set.
const MEMORY_AWARE_BYTES: u64 = 4 << 30;

/// How requests are batched.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BatchingStrategy {
    /// Static batches in queue order: see [`Naive`].
    Naive,
    /// Static batches of similar prompt lengths: see [`Bucketed`].
    Bucketed,
    /// As `Naive`, with a memory limit of 4 GiB if none is set.
    MemoryAware,
    /// Sequences join and leave at every step: see [`Continuous`].
    #[default]
    Continuous,
}

/// Which queued request is served first.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum QueueOrder {
    /// The oldest request.
    Fifo,
    /// The oldest request of the client with the least service.
    RoundRobin,
    /// The highest priority, aged by waiting; ties as [`QueueOrder::RoundRobin`].
    #[default]
    Priority,
}

/// Limits and memory of the executor's steps.
///
/// ```
/// use sm_batching::StepLimits;
///
/// let limits = StepLimits::new(512).max_sequences(8).max_outputs(8).row_group(4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepLimits {
    /// Maximum number of rows in a step.
    pub max_tokens: usize,
    /// Maximum number of rows with outputs.
    pub max_outputs: usize,
    /// Maximum number of spans.
    pub max_sequences: usize,
    /// Rows that the executor computes as a group: one row more than a multiple of it costs about as much as a full group.
    pub row_group: usize,
    /// The memory of a batch, for [`BatchingConfig::memory_limit_bytes`].
    pub memory: BatchMemory,
}

impl StepLimits {
    /// Steps of at most `max_tokens` rows, of as many sequences with as many outputs. Rows are computed one by one, and a batch
    /// takes no memory.
    pub fn new(max_tokens: usize) -> Self {
        let memory = BatchMemory::default();
        Self { max_tokens, max_outputs: max_tokens, max_sequences: max_tokens, row_group: 1, memory }
    }

    setters!(max_outputs: usize, max_sequences: usize, row_group: usize, memory: BatchMemory);

    /// Validates all values.
    ///
    /// # Errors
    /// The first that is 0.
    pub(crate) fn validate(&self) -> Result<(), BatchingError> {
        let positive = [
            ("max_tokens", self.max_tokens),
            ("max_outputs", self.max_outputs),
            ("max_sequences", self.max_sequences),
            ("row_group", self.row_group),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            None => Ok(()),
            Some((field, _)) => {
                Err(BatchingError::InvalidConfig { field, value: 0, reason: "must be at least 1" })
            }
        }
    }
}

/// Scheduler settings.
///
/// ```
/// use sm_batching::BatchingConfig;
///
/// // Up to 16 sequences, and chunks of prompts that keep steps within 50 ms.
/// let config = BatchingConfig::new().max_batch_size(16).target_itl_us(50_000);
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchingConfig {
    /// Whether requests are batched. If not, they run one at a time and never wait for others to arrive.
    pub enabled: bool,
    /// How requests are batched.
    pub strategy: BatchingStrategy,
    /// Whether only prefill is batched; sequences then decode one per step.
    pub prefill_only: bool,
    /// Maximum number of running sequences; 0 for the executor's limit.
    pub max_batch_size: usize,
    /// Whether the number of running sequences adapts, up to `max_batch_size`: it drops when memory is short or, with
    /// `target_itl_us`, steps are late. See [`AdaptiveController`](crate::AdaptiveController).
    pub adaptive: bool,
    /// How long an idle engine waits for more requests, in µs since the oldest one arrived. 0 by default: a lone request waits for
    /// nobody, and in a running engine the next step takes in whoever has come.
    pub max_batch_wait_us: u64,
    /// Maximum number of queued requests.
    pub max_queued_requests: usize,
    /// Maximum number of prompt tokens in the queue; 0 for no limit.
    pub max_queued_tokens: usize,
    /// Maximum number of rows in a step.
    pub max_step_tokens: usize,
    /// Maximum number of rows of one prompt in a step; 0 for the step's limit.
    pub max_chunk_tokens: usize,
    /// Target inter-token latency, in µs: prompt chunks shrink until steps stay within it.
    pub target_itl_us: Option<u64>,
    /// Maximum number of prompt tokens in a batch: counted as if padded to the longest in static batches, and of all that run
    /// at a time with [`BatchingStrategy::Continuous`]. By default 32,768 in static batches, and no limit otherwise.
    pub max_total_tokens: Option<usize>,
    /// Maximum bytes of a batch, counted alike, including everything its sequences may generate. By default 4 GiB with
    /// [`BatchingStrategy::MemoryAware`], and no limit otherwise.
    pub memory_limit_bytes: Option<u64>,
    /// Bucket width of [`BatchingStrategy::Bucketed`], in tokens.
    pub bucket_size: usize,
    /// Which queued request is served first.
    pub order: QueueOrder,
    /// Queue time, in µs, after which a request is treated as one priority higher, up to high.
    pub priority_boost_after_us: u64,
    /// Weight of a prompt token in a client's service.
    pub prompt_weight: u32,
    /// Weight of a generated token in a client's service.
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
            max_batch_wait_us: 0,
            max_queued_requests: 100,
            max_queued_tokens: 0,
            max_step_tokens: 512,
            max_chunk_tokens: 0,
            target_itl_us: None,
            max_total_tokens: None,
            memory_limit_bytes: None,
            bucket_size: 128,
            order: QueueOrder::Priority,
            priority_boost_after_us: 5_000_000,
            prompt_weight: 1,
            output_weight: 2,
        }
    }
}

impl BatchingConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(
        enabled: bool,
        strategy: BatchingStrategy,
        prefill_only: bool,
        max_batch_size: usize,
        adaptive: bool,
        max_batch_wait_us: u64,
        max_queued_requests: usize,
        max_queued_tokens: usize,
        max_step_tokens: usize,
        max_chunk_tokens: usize,
        bucket_size: usize,
        order: QueueOrder,
        priority_boost_after_us: u64,
        prompt_weight: u32,
        output_weight: u32,
    );
    some_setters!(target_itl_us: u64, max_total_tokens: usize, memory_limit_bytes: u64);

    /// Larger batches and a longer wait: for batch jobs, not interactive use.
    pub fn throughput() -> Self {
        Self { max_batch_size: 32, max_batch_wait_us: 50_000, ..Self::default() }
    }

    /// Validates all values.
    ///
    /// # Errors
    /// The first that is invalid.
    pub fn validate(&self) -> Result<(), BatchingError> {
        let positive = [
            ("max_queued_requests", self.max_queued_requests as u64),
            ("max_step_tokens", self.max_step_tokens as u64),
            ("max_total_tokens", self.max_total_tokens.unwrap_or(1) as u64),
            ("memory_limit_bytes", self.memory_limit_bytes.unwrap_or(1)),
            ("bucket_size", self.bucket_size as u64),
            ("target_itl_us", self.target_itl_us.unwrap_or(1)),
            ("priority_boost_after_us", self.priority_boost_after_us),
        ];
        let invalid = |field, value, reason| Err(BatchingError::InvalidConfig { field, value, reason });
        if let Some((field, value)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return invalid(field, value, "must be at least 1");
        }
        if self.max_step_tokens > u32::MAX as usize {
            return invalid("max_step_tokens", self.max_step_tokens as u64, "must fit in 32 bits");
        }
        Ok(())
    }

    /// Validates all values for an executor with these limits.
    ///
    /// # Errors
    /// The first that is invalid.
    pub(crate) fn validate_with(&self, limits: &StepLimits) -> Result<(), BatchingError> {
        self.validate()?;
        let value = self.limits(limits.memory).memory_limit_bytes;
        if limits.memory.estimate(1) > value {
            let field = "memory_limit_bytes";
            let reason = "must hold at least one token in addition to the fixed bytes";
            return Err(BatchingError::InvalidConfig { field, value, reason });
        }
        Ok(())
    }

    /// Validates a change from `before` while the scheduler runs.
    ///
    /// # Errors
    /// The first that is invalid or raised beyond the executor's limits.
    pub(crate) fn validate_change(&self, before: &Self, limits: &StepLimits) -> Result<(), BatchingError> {
        self.validate_with(limits)?;
        let max_sequences = limits.max_sequences.min(limits.max_outputs);
        for (field, value, before, max) in [
            ("max_batch_size", self.max_batch_size, before.max_batch_size, max_sequences),
            ("max_step_tokens", self.max_step_tokens, before.max_step_tokens, limits.max_tokens),
        ] {
            // An initial value beyond the executor's limits stays valid: it is clamped on use.
            if value > max.max(before) {
                return Err(BatchingError::BeyondExecutor { field, value: value as u64, max: max as u64 });
            }
        }
        Ok(())
    }

    /// Whether only the executor limits the number of running sequences.
    pub fn is_unlimited(&self) -> bool {
        self.enabled && self.max_batch_size == 0
    }

    /// Maximum number of running sequences, given these step limits.
    pub(crate) fn batch_size(&self, limits: &StepLimits) -> usize {
        let own = match (self.enabled, self.max_batch_size) {
            (false, _) => 1,
            (true, 0) => usize::MAX,
            (true, size) => size,
        };
        own.min(limits.max_sequences).min(limits.max_outputs).min(limits.max_tokens).min(self.max_step_tokens)
    }

    /// How long an idle engine waits for more requests, in µs.
    pub(crate) fn wait_us(&self) -> u64 {
        if self.enabled { self.max_batch_wait_us } else { 0 }
    }

    /// The limits of a batch; `memory` estimates its bytes.
    pub fn limits(&self, memory: BatchMemory) -> BatchLimits {
        let max_total_tokens = match self.strategy {
            BatchingStrategy::Continuous => usize::MAX,
            BatchingStrategy::Naive | BatchingStrategy::Bucketed | BatchingStrategy::MemoryAware => {
                STATIC_TOKENS
            }
        };
        let memory_limit_bytes = match self.strategy {
            BatchingStrategy::MemoryAware => MEMORY_AWARE_BYTES,
            BatchingStrategy::Naive | BatchingStrategy::Bucketed | BatchingStrategy::Continuous => u64::MAX,
        };
        BatchLimits::tokens(self.max_total_tokens.unwrap_or(max_total_tokens))
            .bytes(self.memory_limit_bytes.unwrap_or(memory_limit_bytes), memory)
    }

    /// The policy of the strategy; `memory` estimates the bytes of a batch.
    pub fn policy(&self, memory: BatchMemory) -> Box<dyn BatchPolicy> {
        let limits = self.limits(memory);
        let policy: Box<dyn BatchPolicy> = match self.strategy {
            BatchingStrategy::Naive | BatchingStrategy::MemoryAware => Box::new(Naive { limits }),
            BatchingStrategy::Bucketed => Box::new(Bucketed::new(self.bucket_size, limits)),
            BatchingStrategy::Continuous => Box::new(Continuous { limits }),
        };
        if self.prefill_only { Box::new(PrefillOnly(policy)) } else { policy }
    }

    /// Service charged for a prompt.
    pub(crate) fn prompt_service(&self, n_tokens: usize) -> u64 {
        (n_tokens as u64).saturating_mul(self.prompt_weight.into())
    }

    /// Service charged for generated tokens.
    pub(crate) fn output_service(&self, n_tokens: usize) -> u64 {
        (n_tokens as u64).saturating_mul(self.output_weight.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_presets_are_valid() {
        let config = BatchingConfig::default();
        assert_eq!(
            (config.max_batch_size, config.max_batch_wait_us, config.max_queued_requests),
            (8, 0, 100)
        );
        let throughput = BatchingConfig::throughput();
        assert_eq!((throughput.max_batch_size, throughput.max_batch_wait_us), (32, 50_000));
        assert_eq!((config.validate(), throughput.validate()), (Ok(()), Ok(())));
    }

    #[test]
    fn invalid_values_are_refused_by_name() {
        let refused = |config: BatchingConfig| config.validate().unwrap_err().to_string();
        let base = BatchingConfig::default;
        assert_eq!(
            refused(BatchingConfig { max_step_tokens: 0, ..base() }),
            "invalid max_step_tokens = 0: must be at least 1"
        );
        assert!(refused(BatchingConfig { target_itl_us: Some(0), ..base() }).contains("target_itl_us"));
        let limits = StepLimits { memory: BatchMemory { fixed_bytes: 8, bytes_per_token: 1 }, ..limits() };
        let strategy = BatchingStrategy::MemoryAware;
        let config = BatchingConfig { memory_limit_bytes: Some(8), strategy, ..base() };
        assert!(config.validate_with(&limits).unwrap_err().to_string().contains("memory_limit_bytes"));
        assert_eq!(BatchingConfig { memory_limit_bytes: Some(9), ..config }.validate_with(&limits), Ok(()));
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
    fn disabled_means_one_at_a_time_and_no_waiting() {
        let config = BatchingConfig { enabled: false, ..BatchingConfig::default() };
        assert_eq!((config.batch_size(&limits()), config.wait_us()), (1, 0));
    }

    #[test]
    fn without_a_limit_that_of_the_executor_applies() {
        let config = BatchingConfig { max_batch_size: 0, ..BatchingConfig::default() };
        assert_eq!((config.validate(), config.batch_size(&limits())), (Ok(()), 8));
        assert!(config.is_unlimited() && !BatchingConfig { enabled: false, ..config }.is_unlimited());
    }
}
