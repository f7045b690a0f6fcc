//! How an engine is set up.

use sm_batching::BatchingConfig;
use sm_cache::KvCacheConfig;

use crate::{KvDiskConfig, LoadOptions, SpeculationConfig};

/// How an engine is set up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineConfig {
    /// How the model is made ready. Its numbers of sequences and outputs follow from `batching`, its KV pool from `cache`.
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
    /// Large steps and many users: the most tokens per second.
    Throughput,
    /// One sequence at a time, no waiting for company, and guesses.
    LatencyOptimized,
    /// Some users at a time, fewer while memory is short, and guesses for all of them.
    Aggressive,
    /// A small cache and few users, fewer still while memory is short.
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
                    max_batch_size: 1,
                    max_batch_wait_us: 0,
                    ..BatchingConfig::default()
                },
                speculation: SpeculationConfig { lookup: true, ..SpeculationConfig::default() },
                ..base
            },
            Self::Aggressive => EngineConfig {
                batching: BatchingConfig { adaptive: true, ..BatchingConfig::default() },
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
            max_outputs: n_sequences * (1 + n_drafts),
            n_sequences,
            kv_bytes: Some(self.cache.max_bytes_total),
            fingerprint: self.kv_disk.is_some(),
            ..self.load.clone()
        }
    }

    /// The options of the loader for the draft model: a whole context for each sequence.
    pub(crate) fn draft_load_options(&self) -> LoadOptions {
        let n_sequences = self.n_sequences();
        LoadOptions {
            max_step_tokens: self.batching.max_step_tokens,
            max_outputs: n_sequences,
            n_sequences,
            kv_bytes: None,
            quant: None,
            fingerprint: false,
            ..self.load.clone()
        }
    }

    fn n_sequences(&self) -> usize {
        if self.batching.enabled { self.batching.max_batch_size } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid() {
        for preset in [
            Preset::Basic,
            Preset::Throughput,
            Preset::LatencyOptimized,
            Preset::Aggressive,
            Preset::MemoryOptimized,
        ] {
            let config = preset.config();
            config.batching.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
            config.speculation.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
        }
        let latency = Preset::LatencyOptimized.config();
        assert_eq!((latency.batching.max_batch_size, latency.batching.max_batch_wait_us), (1, 0));
        assert!(latency.speculation.lookup);
        let throughput = Preset::Throughput.config().batching;
        assert_eq!((throughput.max_batch_size, throughput.max_batch_wait_us), (32, 50_000));
    }
}
