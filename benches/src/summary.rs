//! Summary statistics of measurements.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sm_runtime::percentile;

/// Mean, percentiles and maximum; all 0 if there are no measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The number of measurements.
    pub n: usize,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
}

impl Summary {
    /// Summarizes values in any order.
    pub fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_by(f64::total_cmp);
        Self {
            n: values.len(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            p50: percentile(&values, 0.50),
            p90: percentile(&values, 0.90),
            p95: percentile(&values, 0.95),
            p99: percentile(&values, 0.99),
            max: percentile(&values, 1.0),
        }
    }

    /// Summarizes durations, in milliseconds.
    pub fn of_ms(durations: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(durations.into_iter().map(|duration| duration.as_secs_f64() * 1e3).collect())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, p50, p90, p95, p99, max, .. } = self;
        write!(f, "mean {mean:.2}  p50 {p50:.2}  p90 {p90:.2}  p95 {p95:.2}  p99 {p99:.2}  max {max:.2}")
    }
}

/// The median of values in any order; 0 if there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.50)
}

/// Jain's fairness index: 1 if all shares are equal, `1/n` if one of `n` has everything; 1 if there are none.
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_of_values_in_any_order() {
        let summary = Summary::of((0..=200).rev().map(f64::from).collect());
        let Summary { n, mean, p50, p90, p95, p99, max } = summary;
        assert_eq!((n, mean, p50, p90, p95, p99, max), (201, 100.0, 100.0, 180.0, 190.0, 198.0, 200.0));
        assert_eq!(Summary::of(vec![7.0]).p99, 7.0);
        assert_eq!(Summary::of(Vec::new()), Summary::default());
        assert_eq!((median(vec![3.0, 1.0, 2.0, 9.0]), median(vec![])), (2.5, 0.0));
    }

    #[test]
    fn jain_knows_equal_shares_from_one_winner() {
        assert_eq!(jain(&[3.0, 3.0, 3.0]), 1.0);
        assert_eq!(jain(&[5.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain(&[]), 1.0);
    }
}
