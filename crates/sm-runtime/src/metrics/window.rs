//! The last of many values, and how they are distributed.

use std::collections::VecDeque;

/// The last values of a measurement, and how many there have been.
#[derive(Clone, Debug)]
pub struct Window {
    values: VecDeque<f64>,
    len: usize,
    count: u64,
}

/// How values are distributed: percentiles are interpolated between the two nearest ranks. All 0 of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Distribution {
    /// Values there have been, those that left the window included.
    pub count: u64,
    /// Their mean, from here on of the window.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The last.
    pub latest: f64,
    /// Half of them are at most this.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// 99 % are at most this.
    pub p99: f64,
}

impl Window {
    /// A window of the last `len` values.
    pub fn new(len: usize) -> Self {
        Self { values: VecDeque::with_capacity(len), len: len.max(1), count: 0 }
    }

    /// Takes a value in; the oldest leaves a full window.
    pub fn push(&mut self, value: f64) {
        if self.values.len() == self.len {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.count += 1;
    }

    /// How the values are distributed.
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

/// The value that a `share`, from 0 to 1, of the sorted values does not exceed, interpolated between the two nearest ranks; 0
/// of nothing.
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
