//! How many tokens to draft for a sequence: what its drafts were worth, and what rows cost, decide.

use crate::cost::CostModel;

/// Thousandths in one.
const ONE: u64 = 1000;
/// What is assumed of a drafter: so many of so many drafts are accepted.
const PRIOR: (u64, u64) = (3, 4);
/// Drafts after which what was seen before counts half.
const MEMORY: u64 = 32;
/// What is assumed of a drafter that was right after a pause.
const SECOND_CHANCE: (u64, u64) = (1, 2);
/// Steps without drafts after a first failure; they double with each further one.
const FIRST_PAUSE: u32 = 16;
/// Steps without drafts at most.
const LONGEST_PAUSE: u32 = 256;

/// The step that drafts would be added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodingStep {
    /// Sequences that decode in it: a row and a token for each.
    pub n_rows: usize,
    /// Positions that they attend to, summed.
    pub context: u64,
}

/// What limits the drafts of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftTerms {
    /// Drafts at most.
    pub max: usize,
    /// Positions of the sequence, which each row attends to.
    pub len: usize,
    /// µs that it takes to draft one token.
    pub token_us: u64,
}

/// Finds how many drafts pay for one sequence and one drafter. Where none do, it asks for none, and for one again after a
/// pause: what does not help costs next to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftLength {
    /// Drafts that were accepted, in thousandths: old ones fade.
    accepted: u64,
    /// Drafts that were accepted or rejected, in thousandths. Those behind a rejected one say nothing.
    judged: u64,
    /// Steps to go without drafts.
    pause: u32,
    next_pause: u32,
    /// Whether the last drafts were a try that did not promise to pay.
    is_try: bool,
}

impl Default for DraftLength {
    fn default() -> Self {
        let (accepted, judged) = (PRIOR.0 * ONE, PRIOR.1 * ONE);
        Self { accepted, judged, pause: 0, next_pause: FIRST_PAUSE, is_try: false }
    }
}

impl DraftLength {
    /// Of `n_drafts`, the first `n_accepted` were accepted.
    pub fn observe(&mut self, n_drafts: usize, n_accepted: usize) {
        let n_judged = n_drafts.min(n_accepted + 1) as u64;
        self.accepted += n_accepted as u64 * ONE;
        self.judged += n_judged * ONE;
        if self.judged > MEMORY * ONE {
            self.accepted /= 2;
            self.judged /= 2;
        }
        if self.is_try
            && n_accepted == n_drafts
            && self.acceptance() < SECOND_CHANCE.0 * ONE / SECOND_CHANCE.1
        {
            (self.accepted, self.judged) = (SECOND_CHANCE.0 * ONE, SECOND_CHANCE.1 * ONE);
        }
    }

    /// How likely a draft is accepted, in thousandths.
    pub fn acceptance(&self) -> u64 {
        self.accepted * ONE / self.judged
    }

    /// Drafts for the next step: as many as raise the tokens per second of the whole `step`.
    pub fn choose(&mut self, cost: &CostModel, step: DecodingStep, terms: DraftTerms) -> usize {
        if self.pause > 0 {
            self.pause -= 1;
            return 0;
        }
        let chosen = cost.drafts_worth(step, self.acceptance(), terms);
        self.is_try = chosen == 0;
        if chosen > 0 || terms.max == 0 {
            self.next_pause = FIRST_PAUSE;
            return chosen;
        }
        self.pause = self.next_pause;
        self.next_pause = (2 * self.next_pause).min(LONGEST_PAUSE);
        1
    }
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

    const FREE: DraftTerms = DraftTerms { max: 8, len: 100, token_us: 0 };
    const DEAR: DraftTerms = DraftTerms { token_us: 5000, ..FREE };
    const ALONE: DecodingStep = DecodingStep { n_rows: 1, context: 100 };

    fn trained(n_drafts: usize, n_accepted: usize) -> DraftLength {
        let mut length = DraftLength::default();
        (0..50).for_each(|_| length.observe(n_drafts, n_accepted));
        length
    }

    #[test]
    fn drafts_that_are_accepted_and_cheap_are_long() {
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
    fn the_less_is_accepted_or_the_more_rows_cost_the_fewer_are_drafted() {
        let lengths = |row_us: u64| -> Vec<usize> {
            [8, 3, 1, 0].map(|n| trained(8, n).choose(&cost(1000, row_us), ALONE, FREE)).to_vec()
        };
        for row_us in [5, 50, 300, 1000] {
            assert!(lengths(row_us).is_sorted_by(|a, b| a >= b), "{:?}", lengths(row_us));
        }
        assert!(lengths(5)[1] > lengths(300)[1], "{:?} {:?}", lengths(5), lengths(300));
    }

    #[test]
    fn a_drafter_that_costs_more_than_it_saves_is_not_asked() {
        let mut length = trained(8, 8);
        assert_eq!(length.choose(&cost(1000, 10), ALONE, DEAR), 1, "a last try");
        assert_eq!(length.choose(&cost(1000, 10), ALONE, DEAR), 0);
    }

    #[test]
    fn what_is_never_accepted_is_tried_ever_more_rarely() {
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
    fn it_comes_back_when_drafts_fit_again() {
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
    fn full_steps_have_no_room_for_guesses() {
        let busy = DecodingStep { n_rows: 200, context: 20_000 };
        let mut length = trained(8, 1);
        assert!(length.choose(&cost(1000, 100), ALONE, FREE) > 0);
        assert_eq!(length.choose(&cost(1000, 100), busy, FREE), 1, "a last try");
        assert_eq!(length.choose(&cost(1000, 100), busy, FREE), 0);
    }
}
