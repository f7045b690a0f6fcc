//! Adapts the number of running sequences to memory and latency: it halves under pressure and doubles when there is room.
//!
//! ```text
//! every 16 steps:
//!   pages in use > 90 %, or average step > target          size = max(1, size / 2)
//!   pages in use < 70 %, and 2 · average step ≤ target     size = min(max, 2 · size)
//! ```
//!
//! Between the thresholds nothing changes, which prevents oscillation: doubling from below 70 % may overshoot 90 % and be
//! undone, but between 70 and 90 % the size is stable. A doubled batch takes at most twice the time, so growth alone never
//! makes steps late. Unlike a congestion window (AIMD), growth is multiplicative too, because batch sizes are small: from 1
//! to 32 takes five windows. Only leased pages count as in use; cached pages are evicted when needed.

/// Percentage of pages in use below which batches grow.
const GROW_BELOW_PERCENT: usize = 70;
/// Percentage of pages in use above which batches shrink.
const SHRINK_ABOVE_PERCENT: usize = 90;
/// Steps between changes, so that a single slow step has no effect.
const WINDOW: u64 = 16;

/// Finds a batch size between 1 and a maximum.
///
/// ```
/// use sm_batching::AdaptiveController;
///
/// let mut controller = AdaptiveController::new(8, 8, Some(50_000)); // 50 ms per step
/// for _ in 0..16 {
///     controller.observe(80_000, 10, 100); // 80 ms, with 10 of 100 pages in use
/// }
/// assert_eq!(controller.batch_size(), 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptiveController {
    batch_size: usize,
    max_batch_size: usize,
    target_step_us: Option<u64>,
    /// Steps since the last window began, and their time.
    n_steps: u64,
    sum_us: u64,
}

impl AdaptiveController {
    /// Starts at `batch_size`. Batches shrink while steps take longer than `target_step_us` on average.
    pub fn new(batch_size: usize, max_batch_size: usize, target_step_us: Option<u64>) -> Self {
        let max_batch_size = max_batch_size.max(1);
        let batch_size = batch_size.clamp(1, max_batch_size);
        Self { batch_size, max_batch_size, target_step_us, n_steps: 0, sum_us: 0 }
    }

    /// The batch size to use.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Records a step's time and the pages in use. The batch size may change every 16 steps.
    pub fn observe(&mut self, step_us: u64, used_pages: usize, max_pages: usize) {
        self.n_steps += 1;
        self.sum_us = self.sum_us.saturating_add(step_us);
        if self.n_steps == WINDOW {
            self.adapt(self.sum_us / WINDOW, used_pages.saturating_mul(100) / max_pages.max(1));
            self.n_steps = 0;
            self.sum_us = 0;
        }
    }

    fn adapt(&mut self, step_us: u64, used_percent: usize) {
        let is_late = self.target_step_us.is_some_and(|target| step_us > target);
        let may_grow = self.target_step_us.is_none_or(|target| step_us.saturating_mul(2) <= target);
        if used_percent > SHRINK_ABOVE_PERCENT || is_late {
            self.batch_size = (self.batch_size / 2).max(1);
        } else if used_percent < GROW_BELOW_PERCENT && may_grow {
            self.batch_size = (self.batch_size * 2).min(self.max_batch_size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_a_window(controller: &mut AdaptiveController, step_us: u64, used_pages: usize) -> usize {
        let before = controller.batch_size();
        for _ in 1..WINDOW {
            controller.observe(step_us, used_pages, 100);
            assert_eq!(controller.batch_size(), before, "nothing changes within a window");
        }
        controller.observe(step_us, used_pages, 100);
        controller.batch_size()
    }

    #[test]
    fn the_batch_size_follows_memory() {
        let mut controller = AdaptiveController::new(2, 16, None);
        let sizes = [(69, 4), (69, 8), (70, 8), (90, 8), (91, 4), (0, 8), (0, 16), (0, 16)];
        for (percent, expected) in sizes {
            assert_eq!(after_a_window(&mut controller, 1000, percent), expected, "at {percent} %");
        }
    }

    #[test]
    fn the_batch_size_follows_the_time_of_a_step() {
        let mut controller = AdaptiveController::new(8, 16, Some(1000));
        for (step_us, expected) in [(1001, 4), (600, 4), (500, 8), (5000, 4), (5000, 2), (5000, 1), (5000, 1)]
        {
            assert_eq!(after_a_window(&mut controller, step_us, 0), expected, "at {step_us} µs");
        }
    }
}
