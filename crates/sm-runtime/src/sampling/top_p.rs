//! Top-p (nucleus sampling): keeps the smallest set of most likely tokens with a given total probability.

use super::{Candidate, Candidates};

/// The mass of the most likely token. Masses are integers, so sums are exact and independent of order: the cut is well
/// defined without sorting. With 2^20 tokens, the sum does not exceed 2^60.
const UNIT: f64 = (1u64 << 40) as f64;

/// Below this many candidates, sorting is cheaper than further selection.
const SORT_LEN: usize = 64;

impl Candidates {
    /// Keeps the smallest set of most likely candidates whose probabilities sum to at least `top_p`; never empty.
    ///
    /// Most candidates are dropped by mass alone. The rest go through a weighted quickselect: halve the range that contains
    /// the cut, compare the mass of the better half, and continue in the half with the cut. Linear in the number of
    /// candidates.
    pub(crate) fn keep_top_p(&mut self, top_p: f32, temperature: f64) {
        let total = self.weigh(temperature);
        let target = (f64::from(top_p) * total as f64).ceil() as u64;
        // Candidates below this share are outside the cut: together they weigh less than the mass outside it.
        let share = (total - target) / self.list.len().max(1) as u64;
        self.list.retain(|candidate| candidate.mass >= share);
        let mut first = 0;
        let mut end = self.list.len();
        let mut before = 0;
        while end - first > SORT_LEN {
            let n_better = (end - first) / 2;
            let range = &mut self.list[first..end];
            range.select_nth_unstable_by(n_better - 1, Candidate::rank);
            let mass: u64 = range[..n_better].iter().map(|candidate| candidate.mass).sum();
            if before + mass >= target {
                end = first + n_better;
            } else {
                before += mass;
                first += n_better;
            }
        }
        let range = &mut self.list[first..end];
        range.sort_unstable_by(Candidate::rank);
        let mut sum = before;
        let n_kept = range.iter().take_while(|candidate| {
            let is_needed = sum < target;
            sum += candidate.mass;
            is_needed
        });
        let n_kept = first + n_kept.count();
        self.list.truncate(n_kept.max(1));
    }

    /// Sets every candidate's mass and returns their sum.
    fn weigh(&mut self, temperature: f64) -> u64 {
        let max = f64::from(self.max_logit());
        let mut total = 0;
        for candidate in &mut self.list {
            let probability = libm::exp((f64::from(candidate.logit) - max) / temperature);
            candidate.mass = (probability * UNIT).round() as u64;
            total += candidate.mass;
        }
        total
    }
}
