//! Adapts the batch size to what is measured; never what a user asked for.

/// Share of memory in use, in percent, below which batches grow.
const GROW_BELOW_PERCENT: u64 = 70;
/// Share of memory in use, in percent, above which batches shrink and memory should be cleaned up.
const SHRINK_ABOVE_PERCENT: u64 = 90;

/// What should happen to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAction {
    /// Nothing.
    Keep,
    /// Give up what is only cached.
    CleanUp,
}

/// Finds a batch size between 1 and a maximum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptiveController {
    batch_size: usize,
    max_batch_size: usize,
    target_step_us: Option<u64>,
}

impl AdaptiveController {
    /// Begins with `batch_size`. Where steps take longer than `target_step_us`, batches shrink.
    pub fn new(batch_size: usize, max_batch_size: usize, target_step_us: Option<u64>) -> Self {
        let max_batch_size = max_batch_size.max(1);
        let batch_size = batch_size.clamp(1, max_batch_size);
        Self { batch_size, max_batch_size, target_step_us }
    }

    /// The batch size to use.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// After a while at the present batch size: memory in use, and the average time of a step. The batch size doubles
    /// below 70 % of memory and halves above 90 % or where steps are late.
    pub fn observe_memory(&mut self, used_bytes: u64, max_bytes: u64, step_us: u64) -> MemoryAction {
        let percent = used_bytes.saturating_mul(100) / max_bytes.max(1);
        let is_late = self.target_step_us.is_some_and(|target| step_us > target);
        // A larger batch makes steps at most twice as long: only then is it certain to stay in time.
        let may_grow = self.target_step_us.is_none_or(|target| step_us.saturating_mul(2) <= target);
        if percent > SHRINK_ABOVE_PERCENT || is_late {
            self.batch_size = (self.batch_size / 2).max(1);
        } else if percent < GROW_BELOW_PERCENT && may_grow {
            self.batch_size = (self.batch_size * 2).min(self.max_batch_size);
        }
        if percent > SHRINK_ABOVE_PERCENT { MemoryAction::CleanUp } else { MemoryAction::Keep }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_size_follows_memory() {
        let mut controller = AdaptiveController::new(2, 16, None);
        let sizes = [(69, 4), (69, 8), (70, 8), (90, 8), (91, 4), (0, 8), (0, 16), (0, 16)];
        for (percent, expected) in sizes {
            let action = controller.observe_memory(percent, 100, 1000);
            assert_eq!(controller.batch_size(), expected, "at {percent} %");
            assert_eq!(action == MemoryAction::CleanUp, percent > 90);
        }
    }

    #[test]
    fn the_batch_size_follows_the_time_of_a_step() {
        let mut controller = AdaptiveController::new(8, 16, Some(1000));
        for (step_us, expected) in [(1001, 4), (600, 4), (500, 8), (5000, 4), (5000, 2), (5000, 1), (5000, 1)]
        {
            controller.observe_memory(0, 100, step_us);
            assert_eq!(controller.batch_size(), expected, "at {step_us} µs");
        }
    }
}
