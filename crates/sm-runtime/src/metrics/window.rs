//! A sliding window of values and its distribution.

use std::collections::VecDeque;

/// The last values of a measurement, and a count of all values.
#[derive(Clone, Debug)]
pub struct Window {
    values: VecDeque<f64>,
    len: usize,
    count: u64,
}

/// A distribution. Percentiles are interpolated between the two nearest ranks. All 0 without values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Distribution {
    /// Number of values, including those that left the window.
    pub count: u64,
    /// Mean over the window, as are all following fields.
    pub mean: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// Latest value.
    pub latest: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl Window {
    /// A window of the last `len` values.
    pub fn new(len: usize) -> Self {
        Self { values: VecDeque::with_capacity(len), len: len.max(1), count: 0 }
    }

    /// Adds a value; a full window drops the oldest.
    pub fn push(&mut self, value: f64) {
        if self.values.len() == self.len {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.count += 1;
    }

    /// The distribution of the values.
    pub fn distribution(&self) -> Distribution {
        let mut sorted: Vec<f64> = self.values.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Distribution::default();
        };
        Distribution {
            count: self.count,
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            min: *min,
            max: *max,
            latest: self.values.back().copied().unwrap_or_default(),
            p50: percentile(&sorted, 0.50),
            p90: percentile(&sorted, 0.90),
            p95: percentile(&sorted, 0.95),
            p99: percentile(&sorted, 0.99),
        }
    }
}

/// The quantile `share`, from 0 to 1, of sorted values, interpolated between the two nearest ranks; 0 without values.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let rank = share.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_interpolated() {
        let mut window = Window::new(1000);
        (1..=5).for_each(|value| window.push(f64::from(value)));
        let distribution = window.distribution();
        assert_eq!((distribution.p50, distribution.min, distribution.max), (3.0, 1.0, 5.0));
        assert!((distribution.p90 - 4.6).abs() < 1e-12 && (distribution.p95 - 4.8).abs() < 1e-12);
        assert_eq!((distribution.mean, distribution.latest, distribution.count), (3.0, 5.0, 5));
        assert_eq!((percentile(&[], 0.5), percentile(&[7.0], 0.99)), (0.0, 7.0));
        assert_eq!((percentile(&[1.0, 2.0], 0.0), percentile(&[1.0, 2.0], 1.0)), (1.0, 2.0));
    }

    #[test]
    fn the_oldest_leave() {
        let mut window = Window::new(3);
        (1..=10).for_each(|value| window.push(f64::from(value)));
        let distribution = window.distribution();
        assert_eq!((distribution.min, distribution.max, distribution.count), (8.0, 10.0, 10));
        assert_eq!(Window::new(3).distribution(), Distribution::default());
    }
}
