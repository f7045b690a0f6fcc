//! Decides whether to read pages or recompute them, from measured read times and step costs.
//!
//! ```text
//! read if   n_pages · page time + n_states · state time   <=   step of n rows at their positions − empty step
//! ```
//!
//! Read times are exponential moving averages. A time that was too long decays with every request it rejected, so that a
//! disk that has become faster is noticed.

use sm_batching::CostModel;
use sm_kernels::plan::PAGE_LEN;

use super::record::RecordKind;

/// Weight of the newest measurement in the average.
const NEWEST: f64 = 0.125;
/// Factor applied to a time each time it was too long.
const DECAY: f64 = 0.9;

/// Mean read time of records, in µs; `None` before the first read.
#[derive(Debug, Default)]
pub(super) struct ReadTime {
    page_us: Option<f64>,
    state_us: Option<f64>,
}

impl ReadTime {
    /// Records a measured read time.
    pub(super) fn observe(&mut self, kind: RecordKind, read_us: u64) {
        let us = read_us as f64;
        let average = match kind {
            RecordKind::Page => &mut self.page_us,
            RecordKind::State => &mut self.state_us,
        };
        *average = Some(average.map_or(us, |known| known + NEWEST * (us - known)));
    }

    /// Whether reading `n_pages` pages after the first `n_before`, and `n_states` states, should beat computing them.
    /// Unmeasured reads are tried.
    pub(super) fn is_worth(
        &mut self,
        n_before: usize,
        n_pages: usize,
        n_states: usize,
        cost: &CostModel,
    ) -> bool {
        let Some(page_us) = self.page_us.filter(|_| cost.is_ready()) else {
            return true;
        };
        let start = (n_before * PAGE_LEN) as u64;
        let n_rows = (n_pages * PAGE_LEN) as u64;
        let context = n_rows * start + n_rows * (n_rows + 1) / 2;
        // The last token needs a step in any case.
        let compute_us = cost.predict_us(n_rows as usize, context).saturating_sub(cost.predict_us(0, 0));
        let read_us = page_us * n_pages as f64 + self.state_us.unwrap_or(0.0) * n_states as f64;
        let is_worth = read_us <= compute_us as f64;
        if !is_worth {
            self.page_us = Some(page_us * DECAY);
            self.state_us = self.state_us.map(|us| us * DECAY);
        }
        is_worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of 1000 µs and 10 µs per row, and 1 µs per 100 positions attended to.
    fn cost() -> CostModel {
        let mut cost = CostModel::default();
        for step in 0..100_u64 {
            let (rows, context) = (1 + step * 7 % 300, 50 + step * 1_031 % 90_000);
            cost.observe(1000 + 10 * rows + context / 100, rows as usize, context);
        }
        cost
    }

    #[test]
    fn pages_are_read_where_that_is_cheaper_and_now_and_then_tried() {
        let cost = cost();
        let mut time = ReadTime::default();
        assert!(time.is_worth(0, 1, 0, &cost), "nothing is known");
        time.observe(RecordKind::Page, 150);
        assert!(time.is_worth(0, 1, 0, &cost) && time.is_worth(9, 30, 0, &cost), "160 µs of rows for each");
        time.observe(RecordKind::Page, 150 + 8 * 50);
        assert!(!time.is_worth(0, 1, 0, &cost), "200 µs are too many");
        assert!(time.is_worth(300, 1, 0, &cost), "behind 4800 positions a page costs more than that");
        assert!((0..10).any(|_| time.is_worth(0, 1, 0, &cost)), "it is tried again");
        time.observe(RecordKind::State, 1_000_000);
        assert!(!time.is_worth(0, 1, 1, &cost), "the state takes too long");
        time.observe(RecordKind::Page, 1_000_000);
        assert!(time.is_worth(0, 1, 0, &CostModel::default()), "of steps nothing is known");
    }
}
