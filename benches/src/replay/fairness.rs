//! Measures whether backlogged callers get equal shares.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::summary::jain;

/// A request's wait for its first step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wait {
    /// The caller.
    pub key: u64,
    /// When it arrived.
    pub from: Duration,
    /// When it was admitted.
    pub until: Duration,
}

/// Service received by a caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    /// The caller.
    pub key: u64,
    /// Time of service.
    pub at: Duration,
    /// Tokens, weighted as in the engine.
    pub amount: f64,
}

/// How equally keys were served while several were backlogged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Fairness {
    /// Time windows in which several keys were backlogged throughout.
    pub n_windows: usize,
    /// Mean Jain's index of their service per window; 1 is equal.
    pub jain: f64,
    /// Mean ratio of the least served key to the most served.
    pub min_over_max: f64,
}

impl Fairness {
    /// `window` should be longer than any single request.
    pub fn of(waits: &[Wait], services: &[Service], window: Duration) -> Self {
        let index = |at: Duration| (at.as_secs_f64() / window.as_secs_f64()) as u32;
        let mut served: BTreeMap<(u32, u64), f64> = BTreeMap::new();
        for service in services {
            *served.entry((index(service.at), service.key)).or_default() += service.amount;
        }
        let mut contenders: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (key, from, until) in backlogs(waits) {
            for number in index(from)..=index(until) {
                if from <= window * number && window * (number + 1) <= until {
                    contenders.entry(number).or_default().push(key);
                }
            }
        }
        contenders.retain(|_, keys| keys.len() > 1);
        let n = contenders.len();
        let mut fairness = Self { n_windows: n, ..Self::default() };
        for (number, keys) in &contenders {
            let share = |key: &u64| served.get(&(*number, *key)).copied().unwrap_or(0.0);
            let shares: Vec<f64> = keys.iter().map(share).collect();
            let most = shares.iter().copied().fold(0.0, f64::max);
            let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
            fairness.jain += jain(&shares) / n as f64;
            fairness.min_over_max += if most > 0.0 { least / most } else { 1.0 } / n as f64;
        }
        fairness
    }
}

/// The intervals in which a key had at least one request waiting.
fn backlogs(waits: &[Wait]) -> Vec<(u64, Duration, Duration)> {
    let mut sorted = waits.to_vec();
    sorted.sort_by_key(|wait| (wait.key, wait.from));
    let mut merged: Vec<(u64, Duration, Duration)> = Vec::new();
    for wait in sorted {
        match merged.last_mut() {
            Some((key, _, until)) if *key == wait.key && wait.from <= *until => {
                *until = wait.until.max(*until);
            }
            _ => merged.push((wait.key, wait.from, wait.until)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn only_those_who_wait_all_the_time_are_compared() {
        let wait = |key, from, until| Wait { key, from: ms(from), until: ms(until) };
        let service = |key, at, amount| Service { key, at: ms(at), amount };
        // Key 0 waits throughout, key 1 in the second window only, key 2 with a gap in it.
        let waits = [wait(0, 0, 15), wait(0, 12, 40), wait(1, 8, 21), wait(2, 0, 14), wait(2, 16, 40)];
        let services = [
            service(0, 5, 100.0),
            service(2, 5, 50.0),
            service(0, 11, 30.0),
            service(1, 19, 10.0),
            service(2, 15, 1000.0),
            service(0, 35, 7.0),
            service(2, 36, 7.0),
        ];
        let fairness = Fairness::of(&waits, &services, ms(10));
        // Windows 0 (keys 0 and 2), 1 (keys 0 and 1), 2 and 3 (keys 0 and 2).
        assert_eq!(fairness.n_windows, 4);
        assert!((fairness.min_over_max - (0.5 + 1.0 / 3.0 + 1.0 + 1.0) / 4.0).abs() < 1e-12);
        assert!((fairness.jain - (0.9 + 0.8 + 1.0 + 1.0) / 4.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_to_compare_is_said() {
        assert_eq!(Fairness::of(&[], &[], ms(10)), Fairness::default());
    }
}
