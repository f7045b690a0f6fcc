//! Chooses the number of drafts per sequence that maximizes the step's throughput.
//!
//! If each draft is accepted with probability `α` and the [`CostModel`] gives the cost of rows, `n` drafts yield
//!
//! ```text
//! rate(n) = (B + α + α² + … + αⁿ) / (step_us(B + n rows) + n · draft_token_us)        tokens per µs
//! ```
//!
//! in a step that decodes `B` sequences; the `n` with the highest rate is chosen. The numerator is the expected number of
//! tokens of [Leviathan et al.](https://arxiv.org/abs/2211.17192) (2023, equation 1). The denominator replaces their
//! constant cost ratio, which does not hold for batches: next to 200 other rows a draft costs a row's matrix products;
//! alone it is almost free, because the weights are read anyway.
//!
//! `α` is estimated per sequence and drafter, with a prior and decaying evidence. If no draft pays off, drafting pauses
//! with exponential back-off and then tries a single draft: text changes, and a drafter that failed on prose may succeed on
//! the code that follows.

use crate::cost::{CostModel, StepLoad};

/// Thousandths in one.
const ONE: u64 = 1000;
/// Prior acceptance rate: drafts accepted, of drafts proposed.
const PRIOR_ACCEPTED: u64 = 3;
const PRIOR_PROPOSED: u64 = 4;
/// Prior acceptance rate of a drafter that succeeded after a pause.
const RETRY_ACCEPTED: u64 = 1;
const RETRY_PROPOSED: u64 = 2;
/// Number of drafts after which the evidence is halved.
const MEMORY: u64 = 32;
/// Steps without drafts after the first failure; doubled with each further one.
const FIRST_PAUSE: u32 = 16;
/// Maximum number of steps without drafts.
const LONGEST_PAUSE: u32 = 256;
/// Maximum number of drafts while the cost model has too few observations.
const FIRST_DRAFTS: usize = 4;

/// Limits and cost of a sequence's drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftLimits {
    /// Maximum number of drafts.
    pub max_drafts: usize,
    /// Positions that each row attends to.
    pub context_len: usize,
    /// Time to draft one token, in µs.
    pub draft_token_us: u64,
}

/// Chooses the number of drafts for one sequence and one drafter.
///
/// ```
/// use sm_batching::{CostModel, DraftLength, DraftLimits, StepLoad};
///
/// let cost = CostModel::new(1); // learns from the steps
/// let mut length = DraftLength::default();
/// let step = StepLoad { n_rows: 1, context: 100 };
/// let limits = DraftLimits { max_drafts: 8, context_len: 100, draft_token_us: 0 };
/// let n_drafts = length.choose(&cost, step, limits);
/// assert_eq!(n_drafts, 4, "a cautious number, before steps were observed");
/// length.observe(n_drafts, 3); // the first 3 were accepted
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftLength {
    /// Accepted drafts, in thousandths.
    accepted: u64,
    /// Accepted drafts plus first rejections, in thousandths. Drafts after a rejected one are no evidence.
    judged: u64,
    /// Remaining steps without drafts.
    pause: u32,
    next_pause: u32,
    /// Whether the last draft was a trial around a pause rather than expected to pay off.
    is_try: bool,
}

impl Default for DraftLength {
    fn default() -> Self {
        Self {
            accepted: PRIOR_ACCEPTED * ONE,
            judged: PRIOR_PROPOSED * ONE,
            pause: 0,
            next_pause: FIRST_PAUSE,
            is_try: false,
        }
    }
}

impl DraftLength {
    /// Records that the first `n_accepted` of `n_drafts` were accepted.
    pub fn observe(&mut self, n_drafts: usize, n_accepted: usize) {
        let n_judged = n_drafts.min(n_accepted + 1) as u64;
        self.accepted += n_accepted as u64 * ONE;
        self.judged += n_judged * ONE;
        if self.judged > MEMORY * ONE {
            self.accepted /= 2;
            self.judged /= 2;
        }
        let is_right = n_accepted == n_drafts;
        if self.is_try && is_right && self.acceptance() < RETRY_ACCEPTED * ONE / RETRY_PROPOSED {
            self.accepted = RETRY_ACCEPTED * ONE;
            self.judged = RETRY_PROPOSED * ONE;
        }
    }

    /// Estimated probability that a draft is accepted, in thousandths.
    pub fn acceptance(&self) -> u64 {
        self.accepted * ONE / self.judged
    }

    /// Number of drafts for the next step; `step` is its load without drafts.
    pub fn choose(&mut self, cost: &CostModel, step: StepLoad, limits: DraftLimits) -> usize {
        if self.pause > 0 {
            self.pause -= 1;
            return 0;
        }
        let n_drafts = self.best_number(cost, step, limits);
        self.is_try = n_drafts == 0;
        if n_drafts > 0 || limits.max_drafts == 0 {
            self.next_pause = FIRST_PAUSE;
            return n_drafts;
        }
        self.pause = self.next_pause;
        self.next_pause = (2 * self.next_pause).min(LONGEST_PAUSE);
        1
    }

    /// The number of drafts with the highest rate.
    fn best_number(&self, cost: &CostModel, step: StepLoad, limits: DraftLimits) -> usize {
        let DraftLimits { max_drafts, context_len, draft_token_us } = limits;
        if !cost.is_ready() {
            return without_lone_row(cost.row_group(), step.n_rows, FIRST_DRAFTS.min(max_drafts));
        }
        let acceptance = self.acceptance() as f64 / ONE as f64;
        let mut likelihood = 1.0;
        let mut n_tokens = step.n_rows as f64;
        let mut best = 0;
        let mut best_rate = 0.0;
        for n_drafts in 0..=max_drafts {
            let context = step.context + (n_drafts * context_len) as u64;
            let us = cost.predict_us(step.n_rows + n_drafts, context) + n_drafts as u64 * draft_token_us;
            let rate = n_tokens / us.max(1) as f64;
            if rate > best_rate {
                best = n_drafts;
                best_rate = rate;
            }
            likelihood *= acceptance;
            n_tokens += likelihood;
        }
        without_lone_row(cost.row_group(), step.n_rows, best)
    }
}

/// Drops the last draft if it would be alone in its row group. The executor computes rows in groups, so a lone row costs
/// about as much as a full group, which the linear cost model does not capture.
fn without_lone_row(row_group: usize, n_rows: usize, n_drafts: usize) -> usize {
    let is_alone = row_group > 2 && (n_rows + n_drafts) % row_group == 1;
    if is_alone && n_drafts > 1 { n_drafts - 1 } else { n_drafts }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps that take `fixed_us`, and `row_us` for each row.
    fn cost(fixed_us: u64, row_us: u64) -> CostModel {
        let mut cost = CostModel::default();
        for n_rows in (1..=16).cycle().take(200) {
            cost.observe(fixed_us + row_us * n_rows as u64, n_rows, 100 * n_rows as u64);
        }
        cost
    }

    const FREE: DraftLimits = DraftLimits { max_drafts: 8, context_len: 100, draft_token_us: 0 };
    const DEAR: DraftLimits = DraftLimits { draft_token_us: 5000, ..FREE };
    const ALONE: StepLoad = StepLoad { n_rows: 1, context: 100 };

    fn trained(n_drafts: usize, n_accepted: usize) -> DraftLength {
        let mut length = DraftLength::default();
        (0..50).for_each(|_| length.observe(n_drafts, n_accepted));
        length
    }

    #[test]
    fn cheap_drafts_that_are_accepted_are_long() {
        let mut length = trained(8, 8);
        assert!(length.acceptance() > 970);
        assert_eq!(length.choose(&cost(1000, 10), ALONE, FREE), 8);
    }

    #[test]
    fn no_draft_is_alone_in_a_group_of_rows() {
        for (row_group, drafts) in [(1, [4, 8]), (4, [3, 7]), (8, [4, 7])] {
            let mut cost = CostModel::new(row_group);
            let mut length = trained(8, 8);
            assert_eq!(length.choose(&cost, ALONE, FREE), drafts[0], "before anything is known, {row_group}");
            (0..20).for_each(|_| cost.observe(1000, 1, 100));
            assert_eq!(length.choose(&cost, ALONE, FREE), drafts[1], "{row_group}");
        }
    }

    #[test]
    fn drafts_shrink_as_acceptance_falls_or_rows_cost_more() {
        let lengths = |row_us: u64| -> Vec<usize> {
            [8, 3, 1, 0].map(|n| trained(8, n).choose(&cost(1000, row_us), ALONE, FREE)).to_vec()
        };
        for row_us in [5, 50, 300, 1000] {
            assert!(lengths(row_us).is_sorted_by(|a, b| a >= b), "{:?}", lengths(row_us));
        }
        assert!(lengths(5)[1] > lengths(300)[1], "{:?} {:?}", lengths(5), lengths(300));
    }

    #[test]
    fn a_drafter_that_costs_more_than_it_saves_is_not_used() {
        let mut length = trained(8, 8);
        assert_eq!(length.choose(&cost(1000, 10), ALONE, DEAR), 1, "a last try");
        assert_eq!(length.choose(&cost(1000, 10), ALONE, DEAR), 0);
    }

    #[test]
    fn a_drafter_that_is_never_right_is_tried_ever_more_rarely() {
        let (cost, mut length) = (cost(1000, 800), trained(8, 0));
        let mut n_drafts = 0;
        for _ in 0..2000 {
            let n = length.choose(&cost, ALONE, FREE);
            if n > 0 {
                length.observe(n, 0);
            }
            n_drafts += n;
        }
        assert!((4..20).contains(&n_drafts), "{n_drafts} drafts in 2,000 steps");
    }

    #[test]
    fn drafting_resumes_when_drafts_are_accepted_again() {
        let (cost, mut length) = (cost(1000, 100), trained(8, 0));
        let mut last = 0;
        for _ in 0..3000 {
            last = length.choose(&cost, ALONE, FREE);
            if last > 0 {
                length.observe(last, last);
            }
        }
        assert_eq!(last, 8);
    }

    #[test]
    fn large_batches_leave_no_room_for_drafts() {
        let busy = StepLoad { n_rows: 200, context: 20_000 };
        let mut length = trained(8, 1);
        assert!(length.choose(&cost(1000, 100), ALONE, FREE) > 0);
        assert_eq!(length.choose(&cost(1000, 100), busy, FREE), 1, "a last try");
        assert_eq!(length.choose(&cost(1000, 100), busy, FREE), 0);
    }
}
