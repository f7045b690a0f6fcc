//! The cost model: a running least-squares fit of step time,
//!
//! ```text
//! step_us ≈ a + b · rows + c · context        context: total positions attended to by all rows
//! ```
//!
//! `a` is the cost of reading the weights once, `b` of one row's matrix products, `c` of attention per position. The
//! scheduler uses the fit to size prompt chunks for a target latency, and to find how many drafts pay off.
//!
//! The normal equations have three unknowns and are solved after each step. Observations decay by `MEMORY` per step, so
//! that the fit tracks thermal throttling. A negative factor would make predictions fall with size, so it is fixed at zero
//! and the others are refitted: non-negative least squares, for this small case. No float here affects generated tokens;
//! they only decide how rows are spread over steps.

/// Number of observations before predictions are trusted.
const MIN_OBSERVATIONS: u32 = 8;
/// Weight of an observation relative to the one after it.
const MEMORY: f64 = 0.98;
/// Ridge term: keeps factors without evidence near zero.
const RIDGE: f64 = 1e-6;
/// Minimum chunk size, however late the step: prompts must advance.
const MIN_CHUNK: usize = 16;
/// Maximum chunk size while predictions are not trusted.
const FIRST_CHUNK: usize = 64;
/// Scales the features to around 1, to condition the normal equations.
const SCALE: [f64; 3] = [1.0, 1.0 / 256.0, 1.0 / 65_536.0];

/// The size of a step, which determines its cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepLoad {
    /// Rows.
    pub n_rows: usize,
    /// Total positions attended to by all rows.
    pub context: u64,
}

/// Predicts step times from observations.
///
/// ```
/// use sm_batching::CostModel;
///
/// let mut cost = CostModel::new(1);
/// for n_rows in (1..=64).cycle().take(500) {
///     cost.observe(1000 + 20 * n_rows as u64, n_rows, 0); // µs
/// }
/// assert!(cost.predict_us(100, 0).abs_diff(3000) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct CostModel {
    /// Rows that the executor computes as a group.
    row_group: usize,
    /// Decayed sums of products of features, `Xᵀ X`.
    products: [[f64; 3]; 3],
    /// Decayed sums of features times time, `Xᵀ y`.
    times: [f64; 3],
    /// `a`, `b`, `c`, for scaled features.
    factors: [f64; 3],
    n_observations: u32,
}

impl Default for CostModel {
    fn default() -> Self {
        Self::new(1)
    }
}

impl CostModel {
    /// A model for an executor that computes rows in groups of `row_group`.
    pub fn new(row_group: usize) -> Self {
        Self { row_group, products: [[0.0; 3]; 3], times: [0.0; 3], factors: [0.0; 3], n_observations: 0 }
    }

    /// Records that a step of `n_rows` rows, attending to `context` positions in total, took `step_us`.
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

    /// Whether there are enough observations to trust predictions.
    pub fn is_ready(&self) -> bool {
        self.n_observations >= MIN_OBSERVATIONS
    }

    /// The predicted time of a step, in µs.
    pub fn predict_us(&self, n_rows: usize, context: u64) -> u64 {
        let features = features(n_rows, context);
        let us: f64 = self.factors.iter().zip(features).map(|(factor, feature)| factor * feature).sum();
        us.max(0.0) as u64
    }

    /// The largest prompt chunk, of at most `max` rows from position `start`, that keeps a step with `decoding` rows within
    /// `target_us`.
    pub fn chunk_within(&self, target_us: u64, decoding: StepLoad, start: usize, max: usize) -> usize {
        if !self.is_ready() {
            return FIRST_CHUNK.min(max);
        }
        let fits = |n_rows: usize| {
            let context = decoding.context + (n_rows * start + n_rows * (n_rows + 1) / 2) as u64;
            self.predict_us(decoding.n_rows + n_rows, context) <= target_us
        };
        // The cost is monotonic in the rows, so bisection finds the largest that fits.
        let mut low = 0;
        let mut high = max;
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

    /// Rows that the executor computes as a group.
    pub(crate) fn row_group(&self) -> usize {
        self.row_group
    }

    /// Solves the normal equations; fixes negative factors at zero and refits the others.
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

/// Gaussian elimination for a positive definite system, which needs no pivoting. Unused unknowns are zero.
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
        let decoding = StepLoad { n_rows: 8, context: 4000 };
        let chunk = model.chunk_within(8000, decoding, 256, 512);
        let cost =
            |rows: usize| model.predict_us(8 + rows, (4000 + rows * 256 + rows * (rows + 1) / 2) as u64);
        assert!(cost(chunk) <= 8000 && cost(chunk + 1) > 8000, "{chunk}");
        assert_eq!(model.chunk_within(1, decoding, 256, 512), MIN_CHUNK);
        assert_eq!(model.chunk_within(u64::MAX, decoding, 256, 512), 512);
        assert_eq!(CostModel::default().chunk_within(1, decoding, 256, 512), FIRST_CHUNK);
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
