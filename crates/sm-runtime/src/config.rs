//! How an engine is set up.

mod display;

use sm_batching::BatchingConfig;
use sm_cache::KvCacheConfig;

use crate::{KvDiskConfig, LoadOptions, SpeculationConfig};

/// How an engine is set up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineConfig {
    /// How the model is made ready, and the limits of all memory. Rows and outputs of a step follow from `batching`, the KV
    /// pool from `cache`. More sequences here than there leave room for [`Engine::reconfigure`](crate::Engine::reconfigure).
    pub load: LoadOptions,
    /// Who is served when, and with whom.
    pub batching: BatchingConfig,
    /// What stays in memory between requests.
    pub cache: KvCacheConfig,
    /// Whether next tokens are guessed. With a draft model or lookup, a step needs memory for the logits of all guesses.
    pub speculation: SpeculationConfig,
    /// Where pages go that leave the memory. By default nowhere.
    pub kv_disk: Option<KvDiskConfig>,
}

/// Starting points for [`EngineConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Some users at a time, a shared cache.
    #[default]
    Basic,
    /// Many users, and time to gather them.
    Throughput,
    /// Twice as many users, and twice the time.
    MaxThroughput,
    /// One sequence at a time, no waiting for company, and guesses.
    LatencyOptimized,
    /// Some users at a time, fewer while memory is short, and guesses for all of them.
    Aggressive,
    /// A small cache and few users, fewer still while memory is short.
    MemoryOptimized,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Basic,
        Self::Throughput,
        Self::MaxThroughput,
        Self::LatencyOptimized,
        Self::Aggressive,
        Self::MemoryOptimized,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Throughput => "throughput",
            Self::MaxThroughput => "max-throughput",
            Self::LatencyOptimized => "latency",
            Self::Aggressive => "aggressive",
            Self::MemoryOptimized => "memory",
        }
    }

    /// The configuration.
    pub fn config(self) -> EngineConfig {
        let base = EngineConfig::default();
        match self {
            Self::Basic => base,
            Self::Throughput => EngineConfig { batching: BatchingConfig::throughput(), ..base },
            Self::MaxThroughput => EngineConfig {
                batching: BatchingConfig {
                    max_batch_size: 64,
                    max_batch_wait_us: 100_000,
                    ..BatchingConfig::default()
                },
                ..base
            },
            Self::LatencyOptimized => EngineConfig {
                batching: BatchingConfig {
                    max_batch_size: 1,
                    max_batch_wait_us: 0,
                    ..BatchingConfig::default()
                },
                speculation: SpeculationConfig { lookup: true, ..SpeculationConfig::default() },
                ..base
            },
            Self::Aggressive => EngineConfig {
                batching: BatchingConfig { adaptive: true, ..BatchingConfig::default() },
                cache: KvCacheConfig { gc_threshold_percent: 90, ..KvCacheConfig::default() },
                speculation: SpeculationConfig { lookup: true, max_draft_len: 6 },
                ..base
            },
            Self::MemoryOptimized => EngineConfig {
                batching: BatchingConfig {
                    max_batch_size: 4,
                    adaptive: true,
                    max_step_tokens: 128,
                    ..BatchingConfig::default()
                },
                cache: KvCacheConfig {
                    max_bytes_total: 256 << 20,
                    max_sessions: 100,
                    gc_threshold_percent: 80,
                    ..KvCacheConfig::default()
                },
                ..base
            },
        }
    }
}

impl EngineConfig {
    /// The options of the loader for the model.
    pub(crate) fn load_options(&self, has_draft: bool) -> LoadOptions {
        let n_sequences = self.n_sequences();
        let speculates = has_draft || self.speculation.lookup;
        let n_drafts = if speculates { self.speculation.max_draft_len } else { 0 };
        LoadOptions {
            max_step_tokens: self.batching.max_step_tokens,
            max_outputs: n_sequences.saturating_mul(1 + n_drafts),
            n_sequences,
            kv_bytes: Some(self.load.kv_bytes.unwrap_or(u64::MAX).min(self.cache.max_bytes_total)),
            fingerprint: self.kv_disk.is_some(),
            ..self.load.clone()
        }
    }

    /// The options of the loader for the draft model, a whole context for each sequence, beside `used_bytes` of the model.
    pub fn draft_load_options(&self, used_bytes: u64) -> LoadOptions {
        let n_sequences = self.n_sequences();
        LoadOptions {
            max_step_tokens: self.batching.max_step_tokens,
            max_outputs: n_sequences,
            n_sequences,
            kv_bytes: None,
            pool_bytes: None,
            memory_limit: self.load.memory_limit.map(|limit| limit.saturating_sub(used_bytes)),
            quant: None,
            fingerprint: false,
            ..self.load.clone()
        }
    }

    /// Sequences that the executor's steps can have.
    fn n_sequences(&self) -> usize {
        let BatchingConfig { enabled, max_batch_size, max_step_tokens, .. } = self.batching;
        let own = match (enabled, max_batch_size) {
            (false, _) => 1,
            (true, 0) => max_step_tokens,
            (true, size) => size,
        };
        own.max(self.load.n_sequences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid() {
        for preset in Preset::ALL {
            let config = preset.config();
            config.batching.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
            config.speculation.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
        }
        let latency = Preset::LatencyOptimized.config();
        assert_eq!((latency.batching.max_batch_size, latency.batching.max_batch_wait_us), (1, 0));
        assert!(latency.speculation.lookup);
        let throughput = Preset::Throughput.config().batching;
        assert_eq!((throughput.max_batch_size, throughput.max_batch_wait_us), (32, 50_000));
        let most = Preset::MaxThroughput.config().batching;
        assert_eq!((most.max_batch_size, most.max_batch_wait_us), (64, 100_000));
        assert_eq!(most.strategy, sm_batching::BatchingStrategy::Continuous);
    }

    #[test]
    fn the_model_is_made_ready_for_what_may_come() {
        let sequences = |batching: BatchingConfig, n_sequences| {
            let load = LoadOptions { n_sequences, ..LoadOptions::default() };
            EngineConfig { batching, load, ..EngineConfig::default() }.load_options(false).n_sequences
        };
        let base = BatchingConfig::default;
        assert_eq!(sequences(base(), 1), 8);
        assert_eq!(sequences(base(), 20), 20, "room for more than the batch size");
        assert_eq!(
            sequences(BatchingConfig { max_batch_size: 0, ..base() }, 1),
            512,
            "no limit but a step's rows"
        );
        assert_eq!(sequences(BatchingConfig { enabled: false, ..base() }, 1), 1);
    }
}
