//! Preset configurations.

use std::fmt;
use std::str::FromStr;

use sm_batching::BatchingConfig;
use sm_cache::KvCacheConfig;

use super::EngineConfig;
use crate::{Error, SpeculationConfig};

/// Preset [`EngineConfig`]s to start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// A few concurrent users and a shared cache.
    #[default]
    Basic,
    /// Many users. An idle engine waits briefly to batch requests.
    Throughput,
    /// Twice the users of `Throughput`, and twice the wait.
    MaxThroughput,
    /// One sequence at a time, no batching delay, prompt lookup drafts.
    LatencyOptimized,
    /// A few concurrent users, fewer when memory is short; prompt lookup drafts.
    Aggressive,
    /// A small cache and few concurrent users, fewer when memory is short.
    MemoryOptimized,
}

impl Preset {
    /// All presets.
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
        let lookup = SpeculationConfig { lookup: true, ..SpeculationConfig::default() };
        let base = EngineConfig::default();
        match self {
            Self::Basic => base,
            Self::Throughput => base.batching(BatchingConfig::throughput()),
            Self::MaxThroughput => {
                base.batching(BatchingConfig::new().max_batch_size(64).max_batch_wait_us(100_000))
            }
            Self::LatencyOptimized => base
                .batching(BatchingConfig::new().max_batch_size(1).max_batch_wait_us(0))
                .speculation(lookup),
            Self::Aggressive => base
                .batching(BatchingConfig::new().adaptive(true))
                .cache(KvCacheConfig::new().gc_threshold_percent(90))
                .speculation(SpeculationConfig { max_draft_len: 6, ..lookup }),
            Self::MemoryOptimized => base
                .batching(BatchingConfig::new().max_batch_size(4).adaptive(true).max_step_tokens(128))
                .cache(
                    KvCacheConfig::new()
                        .max_bytes_total(256 << 20)
                        .max_sessions(100)
                        .gc_threshold_percent(80),
                ),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::validation("preset", format!("{name:?} is not a preset; the presets are {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_has_a_name() {
        for preset in Preset::ALL {
            let config = preset.config();
            config.batching.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
            config.speculation.validate().unwrap_or_else(|error| panic!("{preset:?}: {error}"));
            assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
        }
        assert!("fast".parse::<Preset>().unwrap_err().to_string().contains("max-throughput"));
        let latency = Preset::LatencyOptimized.config();
        assert_eq!((latency.batching.max_batch_size, latency.batching.max_batch_wait_us), (1, 0));
        assert!(latency.speculation.lookup);
        let throughput = Preset::Throughput.config().batching;
        assert_eq!((throughput.max_batch_size, throughput.max_batch_wait_us), (32, 50_000));
        let most = Preset::MaxThroughput.config().batching;
        assert_eq!((most.max_batch_size, most.max_batch_wait_us), (64, 100_000));
        assert_eq!(most.strategy, sm_batching::BatchingStrategy::Continuous);
    }
}
