//! When requests are sent.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::Gamma;

/// The times of `n` requests from the start, `rate` of them per second on average.
///
/// The times between requests have a gamma distribution with the shape `burstiness` and the mean 1 / `rate`. Their sum is then
/// scaled to the mean as well, as vLLM does, so that every run takes as long as its rate says.
pub(super) fn times(n: usize, rate: f64, burstiness: f64, seed: u64) -> Vec<Duration> {
    let Some(gamma) = Gamma::new(burstiness, 1.0).ok().filter(|_| rate.is_finite()) else {
        return vec![Duration::ZERO; n];
    };
    let gaps = StdRng::seed_from_u64(seed).sample_iter(gamma).take(n);
    let sums: Vec<f64> = gaps
        .scan(0.0, |sum, gap| {
            *sum += gap;
            Some(*sum)
        })
        .collect();
    let total = sums.last().copied().unwrap_or(1.0);
    sums.iter().map(|sum| Duration::from_secs_f64(sum / total * n as f64 / rate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squared_variation(burstiness: f64) -> f64 {
        let times = times(20_000, 4.0, burstiness, 7);
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        gaps.iter().map(|gap| (gap / mean - 1.0).powi(2)).sum::<f64>() / gaps.len() as f64
    }

    #[test]
    fn the_rate_is_the_mean_and_the_shape_the_burstiness() {
        let last = times(200, 10.0, 1.0, 3)[199];
        assert!((last.as_secs_f64() - 20.0).abs() < 1e-6, "{last:?}");
        // The squared coefficient of variation of a gamma distribution is 1 / shape.
        for burstiness in [0.5, 1.0, 4.0] {
            let variation = squared_variation(burstiness) * burstiness;
            assert!((0.9..1.1).contains(&variation), "{burstiness}: {variation}");
        }
        assert_eq!(times(2, f64::INFINITY, 1.0, 0), [Duration::ZERO; 2]);
    }
}
