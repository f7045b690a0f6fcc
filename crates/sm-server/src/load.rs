//! How busy a server is: when to come again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sm_runtime::EngineStats;

/// The share of the latest answer in the mean.
const LATEST: f64 = 0.1;

/// Nobody is told to wait for longer.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The mean time that requests take once they run.
#[derive(Debug, Default)]
pub(crate) struct Load(Mutex<Option<f64>>);

impl Load {
    /// Counts a request that took so long. One that ran no model says nothing.
    pub(crate) fn record(&self, time: Duration) {
        if time.is_zero() {
            return;
        }
        let mut mean = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let time = time.as_secs_f64();
        *mean = Some(mean.map_or(time, |mean| mean + LATEST * (time - mean)));
    }

    /// When a request that finds the queue full should come again: when half of those that wait now have begun. By then there is
    /// room, and not all who were refused return at once.
    pub(crate) fn retry_after(&self, stats: &EngineStats) -> Duration {
        let mean = self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(1.0);
        let n_slots = stats.max_running.unwrap_or(stats.running).max(1);
        let seconds = mean * stats.waiting as f64 / 2.0 / n_slots as f64;
        Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(waiting: usize) -> EngineStats {
        let mut stats = EngineStats::default();
        (stats.waiting, stats.max_running) = (waiting, Some(4));
        stats
    }

    #[test]
    fn a_longer_queue_and_slower_answers_mean_a_longer_wait() {
        let load = Load::default();
        assert_eq!(load.retry_after(&stats(8)), Duration::from_secs(1));
        load.record(Duration::from_secs(3));
        load.record(Duration::ZERO);
        assert_eq!(load.retry_after(&stats(8)), Duration::from_secs(3));
        assert_eq!(load.retry_after(&stats(16)), Duration::from_secs(6));
        assert_eq!(load.retry_after(&stats(100_000)), MAX_WAIT);
    }
}
