//! Whether pages should be read or computed: by how long a page took to read, and what steps cost.

use sm_batching::CostModel;
use sm_kernels::plan::PAGE_LEN;

/// What the newest time counts.
const NEWEST: f64 = 0.125;
/// What is left of the time each time that it was too long to read: so reading is tried again some day.
const FORGETTING: f64 = 0.9;

/// How long a page takes to read.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// In µs; `None` before the first.
    page_us: Option<f64>,
}

impl Pace {
    /// Learns how long a page took.
    pub(super) fn observe(&mut self, read_us: u64) {
        let us = read_us as f64;
        self.page_us = Some(self.page_us.map_or(us, |known| known + NEWEST * (us - known)));
    }

    /// Whether reading `n_pages` pages behind the first `n_before` should take less time than computing them. What was never
    /// measured is taken to be worth it.
    pub(super) fn is_worth(&mut self, n_before: usize, n_pages: usize, cost: &CostModel) -> bool {
        let Some(page_us) = self.page_us.filter(|_| cost.is_ready()) else {
            return true;
        };
        let (start, n_rows) = ((n_before * PAGE_LEN) as u64, (n_pages * PAGE_LEN) as u64);
        let context = n_rows * start + n_rows * (n_rows + 1) / 2;
        // There is a step in any case, for the last token.
        let compute_us = cost.predict_us(n_rows as usize, context).saturating_sub(cost.predict_us(0, 0));
        let is_worth = page_us * n_pages as f64 <= compute_us as f64;
        if !is_worth {
            self.page_us = Some(page_us * FORGETTING);
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
        let mut pace = Pace::default();
        assert!(pace.is_worth(0, 1, &cost), "nothing is known");
        pace.observe(150);
        assert!(pace.is_worth(0, 1, &cost) && pace.is_worth(9, 30, &cost), "160 µs of rows for each");
        pace.observe(150 + 8 * 50);
        assert!(!pace.is_worth(0, 1, &cost), "200 µs are too many");
        assert!(pace.is_worth(300, 1, &cost), "behind 4800 positions a page costs more than that");
        assert!((0..10).any(|_| pace.is_worth(0, 1, &cost)), "it is tried again");
        pace.observe(1_000_000);
        assert!(pace.is_worth(0, 1, &CostModel::default()), "of steps nothing is known");
    }
}
