//! Engine configuration.

mod display;
mod preset;
mod resolved;

use sm_batching::BatchingConfig;
use sm_cache::KvCacheConfig;
use sm_tensor::{setters, some_setters};

pub use preset::Preset;

use crate::{Error, ExecutorOptions, GrammarLimits, KvDiskConfig, LoadOptions, SpeculationConfig};

/// Configuration of an engine.
///
/// `Display` prints one `section.name = value` per line.
///
/// ```
/// use sm_runtime::{Device, EngineConfig, KvCacheConfig, LoadOptions, Preset};
///
/// let config = Preset::Throughput
///     .config()
///     .load(LoadOptions::new().device(Device::cpu()))
///     .cache(KvCacheConfig::new().max_bytes_total(256 << 20));
/// assert!(config.to_string().contains("batching.max_batch_size = 32"));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EngineConfig {
    /// How the model is loaded. Ignored by an engine started on a [`LoadedModel`](crate::LoadedModel).
    pub load: LoadOptions,
    /// KV cache storage and memory limits. Step sizes follow from `batching`; the KV cache size is also limited by
    /// `cache`. There is room for twice as many sequences as `batching` needs, for
    /// [`Engine::reconfigure`](crate::Engine::reconfigure); `n_reserved_sequences` leaves more.
    pub executor: ExecutorOptions,
    /// Admission and batching of requests.
    pub batching: BatchingConfig,
    /// What the KV cache keeps between requests.
    pub cache: KvCacheConfig,
    /// Speculative decoding. Drafting needs memory for the logits of all drafts in a step.
    pub speculation: SpeculationConfig,
    /// What it may cost to compile a request's grammar.
    pub grammar: GrammarLimits,
    /// Disk tier for evicted pages. None by default.
    pub kv_disk: Option<KvDiskConfig>,
}

impl EngineConfig {
    /// The defaults, identical to [`Preset::Basic`].
    pub fn new() -> Self {
        Self::default()
    }

    setters!(
        load: LoadOptions,
        executor: ExecutorOptions,
        batching: BatchingConfig,
        cache: KvCacheConfig,
        speculation: SpeculationConfig,
        grammar: GrammarLimits,
    );
    some_setters!(kv_disk: KvDiskConfig);

    /// Validates everything that does not depend on a model.
    ///
    /// # Errors
    /// If a value is invalid.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.batching.validate()?;
        self.grammar.validate()?;
        self.speculation.validate()
    }

    /// Load options of the engine's model.
    pub(crate) fn load_options(&self) -> LoadOptions {
        let fingerprint = self.load.fingerprint || self.kv_disk.is_some();
        LoadOptions { fingerprint, ..self.load.clone() }
    }

    /// Executor options of the engine's model, beside a draft model that needs `draft_bytes`.
    pub(crate) fn executor_options(&self, draft_bytes: Option<u64>) -> ExecutorOptions {
        let n_sequences = self.n_sequences();
        let n_reserved = self.n_reserved_sequences();
        let speculates = draft_bytes.is_some() || self.speculation.lookup;
        let n_drafts = if speculates { self.speculation.max_draft_len } else { 0 };
        let memory_limit =
            self.executor.memory_limit.map(|limit| limit.saturating_sub(draft_bytes.unwrap_or(0)));
        let kv_bytes = self.executor.kv_bytes.unwrap_or(u64::MAX).min(self.cache.max_bytes_total);
        ExecutorOptions {
            max_step_tokens: self.batching.max_step_tokens,
            max_outputs: (n_sequences + n_reserved).saturating_mul(1 + n_drafts),
            n_sequences,
            n_reserved_sequences: n_reserved,
            memory_limit,
            // Without a limit, the pool holds the full context of every sequence.
            kv_bytes: Some(kv_bytes).filter(|n_bytes| *n_bytes < u64::MAX),
            ..self.executor.clone()
        }
    }

    /// Load options of the draft model.
    pub(crate) fn draft_load_options(&self) -> LoadOptions {
        LoadOptions { quant: None, fingerprint: false, ..self.load.clone() }
    }

    /// Executor options of the draft model: a full context per sequence. It keeps fewer if there is a limit, so it comes
    /// first: the engine's model takes what it leaves.
    pub(crate) fn draft_executor_options(&self) -> ExecutorOptions {
        let n_sequences = self.n_sequences();
        let n_reserved = self.n_reserved_sequences();
        ExecutorOptions {
            max_step_tokens: self.batching.max_step_tokens,
            max_outputs: n_sequences + n_reserved,
            n_sequences,
            n_reserved_sequences: n_reserved,
            kv_bytes: None,
            pool_bytes: None,
            ..self.executor.clone()
        }
    }

    /// Maximum number of sequences in a step.
    fn n_sequences(&self) -> usize {
        let BatchingConfig { enabled, max_batch_size, max_step_tokens, .. } = self.batching;
        let running = match (enabled, max_batch_size) {
            (false, _) => 1,
            (true, 0) => max_step_tokens,
            (true, size) => size,
        };
        running.max(self.executor.n_sequences)
    }

    /// Room for as many sequences again, within the rows of a step.
    fn n_reserved_sequences(&self) -> usize {
        let n_sequences = self.n_sequences();
        let room = self.batching.max_step_tokens.saturating_sub(n_sequences);
        self.executor.n_reserved_sequences.max(if self.batching.enabled { n_sequences.min(room) } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_is_sized_for_the_batches_to_come() {
        let sequences = |batching: BatchingConfig, n_sequences| {
            let config = EngineConfig::new().batching(batching);
            config
                .executor(ExecutorOptions::new().n_sequences(n_sequences))
                .executor_options(None)
                .n_sequences
        };
        let base = BatchingConfig::default;
        assert_eq!(sequences(base(), 1), 8);
        assert_eq!(sequences(base(), 20), 20, "room for more than the batch size");
        assert_eq!(sequences(base().max_batch_size(0), 1), 512, "no limit but a step's rows");
        assert_eq!(sequences(base().enabled(false), 1), 1);
    }

    #[test]
    fn keys_and_values_have_the_smaller_of_two_limits_or_none() {
        let kv_bytes = |own: Option<u64>, max_bytes_total| {
            let cache = KvCacheConfig::new().max_bytes_total(max_bytes_total);
            let executor = ExecutorOptions { kv_bytes: own, ..ExecutorOptions::default() };
            EngineConfig::new().cache(cache).executor(executor).executor_options(None).kv_bytes
        };
        assert_eq!(kv_bytes(None, 5), Some(5));
        assert_eq!(kv_bytes(Some(3), 5), Some(3));
        assert_eq!(kv_bytes(Some(7), 5), Some(5));
        assert_eq!(kv_bytes(None, u64::MAX), None);
    }
}
