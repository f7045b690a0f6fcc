//! Recommends settings based on past batches.
//!
//! Totals are kept per strategy. The strategy with the most tokens per second is the best; the rest are rules of thumb on
//! the totals: padding efficiency below 70 %, static batches less than half full, requests that wait longer than their
//! batches run.

use crate::config::BatchingStrategy;
use crate::policy::BatchInfo;

/// Minimum number of batches before recommendations are made.
const MIN_BATCHES: u64 = 10;
/// Padding efficiency, in percent, below which batches should have similar lengths.
const LOW_EFFICIENCY_PERCENT: u64 = 70;

/// A finished batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// How it was formed.
    pub strategy: BatchingStrategy,
    /// Its size.
    pub info: BatchInfo,
    /// Average queue time of its requests, in µs.
    pub wait_us: u64,
    /// Run time, in µs.
    pub run_us: u64,
}

/// A suggested change.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suggestion {
    /// Another strategy served more tokens per second.
    UseStrategy(BatchingStrategy),
    /// Lengths within batches differ too much.
    GatherSimilarLengths {
        /// Average padding efficiency, in percent.
        padding_efficiency_percent: u64,
    },
    /// Static batches are less than half full; a longer wait would fill them.
    WaitLonger {
        /// Average number of sequences in a batch, in hundredths.
        average_size_hundredths: u64,
    },
    /// Requests wait longer than their batches run.
    RaiseBatchSize {
        /// Average wait, in µs.
        wait_us: u64,
    },
}

/// Recommendations from the recorded batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendations {
    /// Whether enough batches were recorded for suggestions.
    pub has_enough_data: bool,
    /// The strategy with the most tokens per second so far; the default if none was recorded.
    pub best_strategy: BatchingStrategy,
    /// Suggested changes.
    pub suggestions: Vec<Suggestion>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    n_batches: u64,
    n_sequences: u64,
    n_tokens: u64,
    padded_tokens: u64,
    wait_us: u64,
    run_us: u64,
}

/// Records batches and recommends settings.
///
/// ```
/// use sm_batching::{BatchAdvisor, BatchInfo, BatchRecord, BatchingStrategy, Suggestion};
///
/// let mut advisor = BatchAdvisor::new(32);
/// let info = BatchInfo { n_sequences: 8, max_len: 100, max_positions: 150, n_tokens: 790, n_positions: 1190 };
/// for _ in 0..10 {
///     advisor.record(&BatchRecord { strategy: BatchingStrategy::Naive, info, wait_us: 10, run_us: 1000 });
/// }
/// let recommendations = advisor.recommendations();
/// assert!(matches!(recommendations.suggestions[..], [Suggestion::WaitLonger { average_size_hundredths: 800 }]));
/// ```
#[derive(Clone, Debug)]
pub struct BatchAdvisor {
    max_batch_size: u64,
    totals: [(BatchingStrategy, Totals); 4],
}

impl BatchAdvisor {
    /// An advisor for batches of at most `max_batch_size` sequences.
    pub fn new(max_batch_size: usize) -> Self {
        let strategies = [
            BatchingStrategy::Naive,
            BatchingStrategy::Bucketed,
            BatchingStrategy::MemoryAware,
            BatchingStrategy::Continuous,
        ];
        let totals = strategies.map(|strategy| (strategy, Totals::default()));
        Self { max_batch_size: max_batch_size as u64, totals }
    }

    /// Changes the maximum number of sequences in a batch.
    pub fn set_max_batch_size(&mut self, max_batch_size: usize) {
        self.max_batch_size = max_batch_size as u64;
    }

    /// Records a batch.
    pub fn record(&mut self, batch: &BatchRecord) {
        for (_, totals) in self.totals.iter_mut().filter(|(strategy, _)| *strategy == batch.strategy) {
            totals.n_batches += 1;
            totals.n_sequences += batch.info.n_sequences as u64;
            totals.n_tokens += batch.info.n_tokens as u64;
            totals.padded_tokens += batch.info.padded_tokens() as u64;
            totals.wait_us = totals.wait_us.saturating_add(batch.wait_us);
            totals.run_us = totals.run_us.saturating_add(batch.run_us);
        }
    }

    /// Recommendations so far.
    pub fn recommendations(&self) -> Recommendations {
        let all = self.totals.iter().fold(Totals::default(), |sum, (_, t)| Totals {
            n_batches: sum.n_batches + t.n_batches,
            n_sequences: sum.n_sequences + t.n_sequences,
            n_tokens: sum.n_tokens + t.n_tokens,
            padded_tokens: sum.padded_tokens + t.padded_tokens,
            wait_us: sum.wait_us.saturating_add(t.wait_us),
            run_us: sum.run_us.saturating_add(t.run_us),
        });
        let best_strategy = self.best_strategy();
        let has_enough_data = all.n_batches >= MIN_BATCHES;
        let suggestions = if has_enough_data { self.suggestions(&all, best_strategy) } else { Vec::new() };
        Recommendations { has_enough_data, best_strategy, suggestions }
    }

    fn best_strategy(&self) -> BatchingStrategy {
        let tokens_per_s = |t: &Totals| u128::from(t.n_tokens) * 1_000_000 / u128::from(t.run_us.max(1));
        let used = self.totals.iter().filter(|(_, totals)| totals.n_batches > 0);
        used.max_by_key(|(_, totals)| tokens_per_s(totals)).map_or_else(Default::default, |(best, _)| *best)
    }

    fn suggestions(&self, all: &Totals, best: BatchingStrategy) -> Vec<Suggestion> {
        let most_used = self.totals.iter().max_by_key(|(_, totals)| totals.n_batches);
        let other =
            most_used.filter(|(strategy, _)| *strategy != best).map(|_| Suggestion::UseStrategy(best));
        let efficiency = all.n_tokens * 100 / all.padded_tokens.max(1);
        let similar = (efficiency < LOW_EFFICIENCY_PERCENT)
            .then_some(Suggestion::GatherSimilarLengths { padding_efficiency_percent: efficiency });
        // A continuous batch keeps filling after it was formed.
        let fixed = self.totals.iter().filter(|(strategy, _)| *strategy != BatchingStrategy::Continuous);
        let (n_batches, n_sequences) = fixed.fold((0, 0), |(n_batches, n_sequences), (_, totals)| {
            (n_batches + totals.n_batches, n_sequences + totals.n_sequences)
        });
        let size = (n_sequences * 100).checked_div(n_batches);
        let longer = size.filter(|size| size * 2 < self.max_batch_size * 100);
        let longer = longer.map(|size| Suggestion::WaitLonger { average_size_hundredths: size });
        let wait_us = all.wait_us / all.n_batches.max(1);
        let larger = (all.wait_us > all.run_us).then_some(Suggestion::RaiseBatchSize { wait_us });
        [other, similar, longer, larger].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(strategy: BatchingStrategy, n_tokens: usize, run_us: u64) -> BatchRecord {
        let info =
            BatchInfo { n_sequences: 8, max_len: 100, max_positions: 150, n_tokens, n_positions: 1000 };
        BatchRecord { strategy, info, wait_us: 10, run_us }
    }

    #[test]
    fn needs_ten_batches() {
        let mut advisor = BatchAdvisor::new(8);
        let none = advisor.recommendations();
        assert!(!none.has_enough_data && none.suggestions.is_empty());
        assert_eq!(none.best_strategy, BatchingStrategy::Continuous);
        for _ in 0..9 {
            advisor.record(&batch(BatchingStrategy::Naive, 300, 1000));
        }
        assert!(!advisor.recommendations().has_enough_data);
        advisor.record(&batch(BatchingStrategy::Naive, 300, 1000));
        assert!(advisor.recommendations().has_enough_data);
    }

    #[test]
    fn recommends_the_fastest_strategy_and_reports_waste() {
        let mut advisor = BatchAdvisor::new(32);
        for _ in 0..20 {
            advisor.record(&batch(BatchingStrategy::Naive, 400, 1000));
        }
        advisor.record(&batch(BatchingStrategy::Bucketed, 800, 1000));
        let said = advisor.recommendations();
        assert_eq!(said.best_strategy, BatchingStrategy::Bucketed);
        let expected = [
            Suggestion::UseStrategy(BatchingStrategy::Bucketed),
            Suggestion::GatherSimilarLengths { padding_efficiency_percent: 52 },
            Suggestion::WaitLonger { average_size_hundredths: 800 },
        ];
        assert_eq!(said.suggestions, expected);
    }
}
