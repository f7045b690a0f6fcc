//! What a step costs, learnt while it runs: `a + b·rows + c·context`, and how long a chunk may therefore be.
//!
//! The numbers are plain and of one machine; nothing that is generated depends on them.

use crate::draft_len::{DecodingStep, DraftTerms};

/// Observations before predictions are believed.
const MIN_OBSERVATIONS: u32 = 8;
/// What an observation counts after the next one.
const MEMORY: f64 = 0.98;
/// Holds factors that nothing is known about near zero.
const RIDGE: f64 = 1e-6;
/// Rows that a chunk has at least, however late the step: prompts must get on.
const MIN_CHUNK: usize = 16;
/// Rows that a chunk has at most before predictions are believed.
const FIRST_CHUNK: usize = 64;
/// Drafts that a sequence has at most before predictions are believed.
const FIRST_DRAFTS: usize = 4;
/// Rows and context are scaled to sizes near 1.
const SCALE: [f64; 3] = [1.0, 1.0 / 256.0, 1.0 / 65_536.0];

/// A running least-squares fit of the time of a step.
#[derive(Clone, Debug)]
pub struct CostModel {
    /// Rows that are computed together.
    row_group: usize,
    /// Weighted sums of products of the features.
    products: [[f64; 3]; 3],
    /// Weighted sums of features times time.
    times: [f64; 3],
    factors: [f64; 3],
    n_observations: u32,
}

impl Default for CostModel {
    fn default() -> Self {
        Self::new(1)
    }
}

impl CostModel {
    /// Of an executor that computes `row_group` rows together.
    pub fn new(row_group: usize) -> Self {
        let (products, times, factors) = ([[0.0; 3]; 3], [0.0; 3], [0.0; 3]);
        Self { row_group, products, times, factors, n_observations: 0 }
    }

    /// Learns that a step of `n_rows` rows, which attended to `context` positions in total, took `step_us`.
    pub fn observe(&mut self, step_us: u64, n_rows: usize, context: u64) {
        let features = features(n_rows, context);
        for i in 0..3 {
            for j in 0..3 {
                self.products[i][j] = MEMORY * self.products[i][j] + features[i] * features[j];
            }
            self.times[i] = MEMORY * self.times[i] + features[i] * step_us as f64;
        }
        self.n_observations = self.n_observations.saturating_add(1);
        self.fit();
    }

    /// Whether enough was seen.
    pub fn is_ready(&self) -> bool {
        self.n_observations >= MIN_OBSERVATIONS
    }

    /// The time that such a step should take, in µs.
    pub fn predict_us(&self, n_rows: usize, context: u64) -> u64 {
        let features = features(n_rows, context);
        let us: f64 = self.factors.iter().zip(features).map(|(factor, feature)| factor * feature).sum();
        us.max(0.0) as u64
    }

    /// The most rows, at most `max`, that a chunk of a prompt may have at position `start` for a step to stay within
    /// `target_us` that has `decoding` = (rows, context) already.
    pub fn chunk_within(&self, target_us: u64, decoding: (usize, usize), start: usize, max: usize) -> usize {
        if !self.is_ready() {
            return FIRST_CHUNK.min(max);
        }
        let fits = |n_rows: usize| {
            let context = decoding.1 + n_rows * start + n_rows * (n_rows + 1) / 2;
            self.predict_us(decoding.0 + n_rows, context as u64) <= target_us
        };
        let (mut low, mut high) = (0, max);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if fits(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low.max(MIN_CHUNK).min(max)
    }

    /// How many drafts, of which so many thousandths are accepted, make the tokens per second of a step the most.
    pub(crate) fn drafts_worth(&self, step: DecodingStep, acceptance: u64, terms: DraftTerms) -> usize {
        let DraftTerms { max, len, token_us } = terms;
        if !self.is_ready() {
            return self.without_lone_row(step.n_rows, FIRST_DRAFTS.min(max));
        }
        let acceptance = acceptance as f64 / 1000.0;
        let (mut likelihood, mut n_tokens) = (1.0, step.n_rows as f64);
        let mut best = (0, 0.0);
        for n_drafts in 0..=max {
            let context = step.context + (n_drafts * len) as u64;
            let us = self.predict_us(step.n_rows + n_drafts, context) + n_drafts as u64 * token_us;
            let rate = n_tokens / us.max(1) as f64;
            if rate > best.1 {
                best = (n_drafts, rate);
            }
            likelihood *= acceptance;
            n_tokens += likelihood;
        }
        self.without_lone_row(step.n_rows, best.0)
    }

    /// One draft less where the last one would be alone in a group of rows: it costs about as much as several.
    fn without_lone_row(&self, n_rows: usize, n_drafts: usize) -> usize {
        let is_alone = self.row_group > 2 && (n_rows + n_drafts) % self.row_group == 1;
        if is_alone && n_drafts > 1 { n_drafts - 1 } else { n_drafts }
    }

    /// Solves the normal equations; a factor that comes out negative is taken as zero and the others are fitted again.
    fn fit(&mut self) {
        let mut used = [true; 3];
        for _ in 0..3 {
            self.factors = solve(&self.products, &self.times, used);
            match (0..3).find(|i| self.factors[*i] < 0.0) {
                Some(negative) => used[negative] = false,
                None => return,
            }
        }
        self.factors = self.factors.map(|factor| factor.max(0.0));
    }
}

fn features(n_rows: usize, context: u64) -> [f64; 3] {
    [SCALE[0], n_rows as f64 * SCALE[1], context as f64 * SCALE[2]]
}

/// Gaussian elimination of a positive definite system; unused unknowns are zero.
fn solve(products: &[[f64; 3]; 3], times: &[f64; 3], used: [bool; 3]) -> [f64; 3] {
    let mut rows = [[0.0; 4]; 3];
    for i in 0..3 {
        for j in 0..3 {
            let is_used = used[i] && used[j];
            rows[i][j] = if is_used { products[i][j] } else { 0.0 } + if i == j { RIDGE } else { 0.0 };
        }
        rows[i][3] = if used[i] { times[i] } else { 0.0 };
    }
    for pivot in 0..3 {
        let [above, below] = [rows[pivot], rows[pivot]];
        for row in rows.iter_mut().skip(pivot + 1) {
            let factor = row[pivot] / above[pivot];
            row.iter_mut().zip(below).for_each(|(value, upper)| *value -= factor * upper);
        }
    }
    let mut factors = [0.0; 3];
    for i in (0..3).rev() {
        let known: f64 = (i + 1..3).map(|j| rows[i][j] * factors[j]).sum();
        factors[i] = (rows[i][3] - known) / rows[i][i];
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> CostModel {
        let mut model = CostModel::default();
        for step in 0..100_u64 {
            let (rows, context) = (1 + step * 7 % 300, 50 + step * 1_031 % 90_000);
            model.observe(500 + 40 * rows + context / 4, rows as usize, context);
        }
        model
    }

    #[test]
    fn learns_a_linear_cost() {
        let model = trained();
        for (rows, context) in [(1, 1000), (64, 4000), (300, 80_000)] {
            let (predicted, true_us) =
                (model.predict_us(rows, context), 500 + 40 * rows as u64 + context / 4);
            assert!(predicted.abs_diff(true_us) <= 2 + true_us / 500, "{predicted} for {true_us}");
        }
    }

    #[test]
    fn follows_a_machine_that_becomes_slower() {
        let mut model = trained();
        for step in 0..400_u64 {
            let (rows, context) = (1 + step * 7 % 300, 50 + step * 1_031 % 90_000);
            model.observe(2 * (500 + 40 * rows + context / 4), rows as usize, context);
        }
        assert!(model.predict_us(100, 10_000).abs_diff(14_000) < 200);
    }

    #[test]
    fn chunks_are_the_longest_that_stay_in_time() {
        let model = trained();
        let chunk = model.chunk_within(8000, (8, 4000), 256, 512);
        let cost =
            |rows: usize| model.predict_us(8 + rows, (4000 + rows * 256 + rows * (rows + 1) / 2) as u64);
        assert!(cost(chunk) <= 8000 && cost(chunk + 1) > 8000, "{chunk}");
        assert_eq!(model.chunk_within(1, (8, 4000), 256, 512), MIN_CHUNK);
        assert_eq!(model.chunk_within(u64::MAX, (8, 4000), 256, 512), 512);
        assert_eq!(CostModel::default().chunk_within(1, (8, 4000), 256, 512), FIRST_CHUNK);
    }

    #[test]
    fn constant_steps_are_predicted_too() {
        let mut model = CostModel::default();
        for _ in 0..50 {
            model.observe(900, 4, 400);
        }
        assert!(model.predict_us(4, 400).abs_diff(900) < 5);
    }
}
