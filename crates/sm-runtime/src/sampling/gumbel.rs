//! The Gumbel-max trick: the argmax of `logit / temperature + noise` is a sample of the softmax.
//!
//! Unlike inverse-CDF sampling with one uniform number, each token has its own noise: small changes of the logits rarely
//! change the sample, and a draft model with the same noise usually agrees. Logarithms come from the crate `libm` because
//! the last bits of the system's C library differ between platforms.

use sm_tensor::TokenId;

use super::{Candidate, Draw, Sampler, philox4x32_10};

/// Upper bound of [`noise`], which is at most `-ln(-ln(1 - 2^-33)) = 22.873…`.
const MAX_NOISE: f64 = 22.88;

/// Standard Gumbel noise of a token at a position. Depends only on the arguments and is identical on all platforms.
pub fn noise(draw: Draw, token: TokenId) -> f64 {
    gumbel(words(draw, token.0 / 4)[token.0 as usize % 4])
}

/// A uniform number in (0, 1) for a draw as a whole, independent of the noise of its tokens.
pub(crate) fn uniform(draw: Draw) -> f64 {
    let words =
        philox4x32_10([0, draw.position, draw.choice, 1], [draw.seed as u32, (draw.seed >> 32) as u32]);
    (f64::from(words[0]) + 0.5) / 4_294_967_296.0
}

/// The random words of tokens `4 * group..`.
fn words(draw: Draw, group: u32) -> [u32; 4] {
    philox4x32_10([group, draw.position, draw.choice, 0], [draw.seed as u32, (draw.seed >> 32) as u32])
}

/// Maps a word to `u`, the midpoint of one of 2^32 equal parts of (0, 1), and `u` to Gumbel noise.
fn gumbel(word: u32) -> f64 {
    const PARTS: f64 = 4_294_967_296.0;
    -libm::log(-libm::log((f64::from(word) + 0.5) / PARTS))
}

/// Samples the softmax at a temperature above 0.
#[derive(Clone, Copy, Debug)]
pub struct Gumbel {
    /// Divides the logits.
    pub temperature: f64,
}

impl Sampler for Gumbel {
    fn sample(&self, candidates: &[Candidate], draw: Draw) -> TokenId {
        let mut best = Best { token: TokenId(0), value: f64::NEG_INFINITY };
        let mut group = u32::MAX;
        let mut group_words = [0; 4];
        for candidate in candidates {
            let score = f64::from(candidate.logit) / self.temperature;
            let needed = best.value - score;
            if needed > MAX_NOISE {
                continue;
            }
            let token = candidate.token;
            // Four consecutive ids share one Philox block. No id is in the initial group, since id / 4 is smaller.
            if token.0 / 4 != group {
                group = token.0 / 4;
                group_words = words(draw, group);
            }
            let word = group_words[token.0 as usize % 4];
            if needed <= upper_bound(word) {
                best.offer(token, score + gumbel(word));
            }
        }
        best.token
    }
}

/// A cheap upper bound of `gumbel(word)`, which avoids the logarithms for most tokens of a large vocabulary.
///
/// With z leading ones, `1 - u ≥ 2^-(z+1)`, and `-ln(-ln u) ≤ -ln(1 - u) ≤ (z + 1) ln 2`.
fn upper_bound(word: u32) -> f64 {
    const MARGIN: f64 = 1e-9;
    f64::from(word.leading_ones() + 1) * std::f64::consts::LN_2 + MARGIN
}

/// The best token so far.
struct Best {
    token: TokenId,
    value: f64,
}

impl Best {
    fn offer(&mut self, token: TokenId, value: f64) {
        if value > self.value || (value == self.value && token < self.token) {
            *self = Self { token, value };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(logits: &[f32]) -> Vec<Candidate> {
        (0..).zip(logits).map(|(token, &logit)| Candidate { token: TokenId(token), logit, mass: 0 }).collect()
    }

    /// Computed with Python's integers and `math.log`.
    const GOLDEN: [(u64, u32, u32, u32, f64); 5] = [
        (0, 0, 0, 0, 0.084_820_251_111),
        (42, 0, 7, 511, 0.355_115_803_782),
        (42, 1, 7, 511, -0.165_513_030_630),
        (u64::MAX, 3, 4095, 151_935, 0.987_471_396_903),
        (123_456_789_012_345, 0, 1, 2, -2.136_825_618_591),
    ];

    #[test]
    fn noise_equals_golden_values() {
        for (seed, choice, position, token, expected) in GOLDEN {
            let actual = noise(Draw { seed, choice, position }, TokenId(token));
            assert!((actual - expected).abs() < 1e-11, "{seed} {choice} {position} {token}: {actual:.12}");
        }
    }

    #[test]
    fn the_bounds_hold() {
        for word in [0, 1, 1 << 31, u32::MAX >> 1, u32::MAX - 1, u32::MAX, 0xfffe_ffff, 0xc000_0000] {
            assert!(gumbel(word) <= upper_bound(word), "{word:x}");
            assert!(gumbel(word) < MAX_NOISE, "{word:x}");
        }
    }

    #[test]
    fn skipping_never_changes_the_draw() {
        for position in 0..300 {
            let draw = Draw { seed: 11, choice: 0, position };
            let logits: Vec<f32> =
                (0..500).map(|i| noise(Draw { seed: 5, ..draw }, TokenId(i)) as f32 * 3.0).collect();
            let candidates = candidates(&logits);
            let expected = candidates
                .iter()
                .map(|c| (f64::from(c.logit) / 0.7 + noise(draw, c.token), c.token))
                .fold((f64::NEG_INFINITY, TokenId(0)), |best, x| if x.0 > best.0 { x } else { best });
            assert_eq!(
                Gumbel { temperature: 0.7 }.sample(&candidates, draw),
                expected.1,
                "position {position}"
            );
        }
    }

    /// χ² with 7 degrees of freedom is above 24.3 once in a thousand times; the seeds are fixed.
    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0, -1.0, 2.5, 0.3, 1.9, -2.0, 1.2];
        let candidates = candidates(&logits);
        for (seed, temperature) in [(1, 1.0), (2, 0.6), (u64::MAX, 1.7)] {
            let weights: Vec<f64> = logits.iter().map(|x| (f64::from(*x) / temperature).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let n_draws = 40_000;
            let mut counts = [0u32; 8];
            for position in 0..n_draws {
                let draw = Draw { seed, choice: position % 3, position };
                counts[Gumbel { temperature }.sample(&candidates, draw).0 as usize] += 1;
            }
            let chi_square: f64 = counts
                .iter()
                .zip(&weights)
                .map(|(&count, weight)| {
                    let expected = weight / sum * f64::from(n_draws);
                    (f64::from(count) - expected).powi(2) / expected
                })
                .sum();
            assert!(chi_square < 24.3, "seed {seed}: χ² = {chi_square}, counts {counts:?}");
        }
    }
}
