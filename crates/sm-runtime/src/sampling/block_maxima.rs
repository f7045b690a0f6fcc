//! Block maxima of logits, so that most logits need not be read a second time.

use crate::backend::{BLOCK_LEN, block_maxima};

/// Groups of blocks per each of the `k` largest logits: more make the bound of [`BlockMaxima::at_most_kth`] tighter, fewer
/// make it cheaper.
const GROUPS_PER_LOGIT: usize = 3;

/// The largest logit of each block, ignoring NaN; `-inf` where all are forbidden.
#[derive(Debug, Default)]
pub(crate) struct BlockMaxima {
    values: Vec<f32>,
    /// Scratch: the largest logit of each group of blocks.
    groups: Vec<f32>,
}

impl BlockMaxima {
    /// Computes the maxima of `logits`, `[vocab_size]`, in one pass. Returns whether all logits are finite.
    pub(crate) fn find(&mut self, logits: &[f32]) -> bool {
        block_maxima(logits, &mut self.values)
    }

    /// A lower bound on the `k`-th largest logit: the `k`-th largest maximum over groups of blocks, each of which is a
    /// logit. `-inf` if there are fewer blocks.
    pub(crate) fn at_most_kth(&mut self, k: usize) -> f32 {
        let group_len = (self.values.len() / GROUPS_PER_LOGIT.saturating_mul(k)).max(1);
        self.groups.clear();
        self.groups.extend(self.values.chunks(group_len).map(largest));
        if k > self.groups.len() {
            return f32::NEG_INFINITY;
        }
        *self.groups.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
    }

    /// The blocks of `logits`, which must be those passed to `find`: each with its first token, its maximum and its logits.
    pub(crate) fn blocks<'a>(&'a self, logits: &'a [f32]) -> impl Iterator<Item = (u32, f32, &'a [f32])> {
        debug_assert_eq!(
            self.values.len(),
            logits.len().div_ceil(BLOCK_LEN),
            "the maxima belong to other logits"
        );
        let blocks = self.values.iter().zip(logits.chunks(BLOCK_LEN));
        blocks.enumerate().map(|(index, (&max, logits))| ((index * BLOCK_LEN) as u32, max, logits))
    }
}

fn largest(logits: &[f32]) -> f32 {
    logits.iter().fold(f32::NEG_INFINITY, |max, &logit| if logit > max { logit } else { max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_a_logit_that_k_logits_reach() {
        let logits: Vec<f32> = (0..10_000).map(|i| ((i * 7919) % 10_007) as f32).collect();
        let mut ranked = logits.clone();
        ranked.sort_unstable_by(|a, b| b.total_cmp(a));
        let mut maxima = BlockMaxima::default();
        assert!(maxima.find(&logits));
        for k in 1..=157 {
            let bound = maxima.at_most_kth(k);
            assert!(bound <= ranked[k - 1] && logits.contains(&bound), "{k}: {bound}");
        }
        assert_eq!((maxima.at_most_kth(1), maxima.at_most_kth(158)), (ranked[0], f32::NEG_INFINITY));
    }
}
