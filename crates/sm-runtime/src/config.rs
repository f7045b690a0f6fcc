//! How an engine is set up.

use sm_batching::BatchingConfig;
use sm_cache::KvCacheConfig;

use crate::LoadOptions;

/// How an engine is set up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineConfig {
    /// How the model is made ready. Its numbers of sequences and outputs follow from `batching`, its KV pool from `cache`.
    pub load: LoadOptions,
    /// Who is served when, and with whom.
    pub batching: BatchingConfig,
    /// What stays in memory between requests.
    pub cache: KvCacheConfig,
}

/// Starting points for [`EngineConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Some users at a time, a shared cache.
    #[default]
    Basic,
    /// Large steps and many users: the most tokens per second.
    Throughput,
    /// No waiting for company, and prompts in chunks that let others keep their pace.
    LatencyOptimized,
    /// A small cache and few users.
    MemoryOptimized,
}

impl Preset {
    /// The configuration.
    pub fn config(self) -> EngineConfig {
        let base = EngineConfig::default();
        match self {
            Self::Basic => base,
            Self::Throughput => EngineConfig { batching: BatchingConfig::throughput(), ..base },
            Self::LatencyOptimized => EngineConfig {
                batching: BatchingConfig {
                    max_batch_wait_us: 0,
                    target_itl_us: Some(50_000),
                    ..BatchingConfig::default()
                },
                ..base
            },
            Self::MemoryOptimized => EngineConfig {
                batching: BatchingConfig {
                    max_batch_size: 4,
                    max_step_tokens: 128,
                    ..BatchingConfig::default()
                },
                cache: KvCacheConfig {
                    max_bytes_total: 256 << 20,
                    max_sessions: 100,
                    ..KvCacheConfig::default()
                },
                ..base
            },
        }
    }
}

impl EngineConfig {
    /// The options of the loader for this configuration.
    pub(crate) fn load_options(&self) -> LoadOptions {
        let n_sequences = if self.batching.enabled { self.batching.max_batch_size } else { 1 };
        LoadOptions {
            max_step_tokens: self.batching.max_step_tokens,
            max_outputs: n_sequences,
            n_sequences,
            kv_bytes: Some(self.cache.max_bytes_total),
            ..self.load.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid() {
        for preset in [Preset::Basic, Preset::Throughput, Preset::LatencyOptimized, Preset::MemoryOptimized] {
            preset.config().batching.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
        }
    }
}
