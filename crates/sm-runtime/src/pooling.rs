//! Pooling: how the hidden states of a text become one vector.

use sm_batching::PromptOutputs;

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean over all positions.
    #[default]
    Mean,
    /// That of the last position, which has seen the whole text. What others have computed of the text need not be computed again.
    Last,
}

/// Collects hidden states.
#[derive(Debug)]
pub(crate) struct Pool {
    pooling: Pooling,
    sum: Vec<f64>,
    n_positions: usize,
}

impl Pool {
    pub(crate) fn new(pooling: Pooling) -> Self {
        Self { pooling, sum: Vec::new(), n_positions: 0 }
    }

    /// What it needs of the prompt.
    pub(crate) fn wanted(&self) -> PromptOutputs {
        match self.pooling {
            Pooling::Mean => PromptOutputs::Hidden,
            Pooling::Last => PromptOutputs::LastHidden,
        }
    }

    /// Adds the hidden state of a position. After a failed step a position may come again.
    pub(crate) fn add(&mut self, position: usize, hidden: &[f32]) {
        let is_next = self.pooling == Pooling::Last || position == self.n_positions;
        if !is_next {
            return;
        }
        self.sum.resize(hidden.len(), 0.0);
        self.sum.iter_mut().zip(hidden).for_each(|(sum, value)| *sum += f64::from(*value));
        self.n_positions += 1;
    }

    pub(crate) fn finish(self) -> Vec<f32> {
        let scale = 1.0 / self.n_positions.max(1) as f64;
        self.sum.into_iter().map(|sum| (sum * scale) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_added_once_and_in_order() {
        let mut mean = Pool::new(Pooling::Mean);
        for (position, hidden) in [(0, [1.0, 2.0]), (1, [3.0, 6.0]), (1, [9.0, 9.0])] {
            mean.add(position, &hidden);
        }
        assert_eq!(mean.finish(), [2.0, 4.0]);
        let mut last = Pool::new(Pooling::Last);
        last.add(7, &[3.0, 4.0]);
        assert_eq!(last.finish(), [3.0, 4.0]);
    }
}
