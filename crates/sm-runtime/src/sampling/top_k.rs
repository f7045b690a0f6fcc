//! Top-k: keeps the k most likely tokens.

use sm_tensor::TokenId;

use super::{Candidate, Candidates};

/// Logits compared at once: a whole number of vectors on every instruction set.
const CHUNK_LEN: usize = 16;
/// Minimum number of candidates above `k` before the collection is pruned.
const MIN_SURPLUS: usize = 32;

impl Candidates {
    /// Gathers exactly the `k` most likely tokens (fewer only if fewer are allowed); ties go to the lower id.
    ///
    /// Block maxima give a lower bound on the `k`-th largest logit. Logits that reach it are collected, usually few more
    /// than `k`. If the collection still doubles, it is pruned, and from then on only logits that beat the `k`-th best so
    /// far are added.
    pub(crate) fn gather_top_k(&mut self, logits: &[f32], k: usize) {
        let full = (2 * k).max(k + MIN_SURPLUS);
        self.list.clear();
        self.list.reserve(full + CHUNK_LEN);
        let mut threshold = self.maxima.at_most_kth(k).next_down();
        for (first, max, logits) in self.maxima.blocks(logits) {
            if max <= threshold {
                continue;
            }
            for (first, logits) in (first..).step_by(CHUNK_LEN).zip(logits.chunks(CHUNK_LEN)) {
                // Strictly greater: a later token with an equal logit has a higher id and loses the tie.
                if !logits.iter().fold(false, |any, &logit| any | (logit > threshold)) {
                    continue;
                }
                let better = (first..).zip(logits).filter(|(_, logit)| **logit > threshold);
                self.list.extend(better.map(|(token, &logit)| Candidate {
                    token: TokenId(token),
                    logit,
                    mass: 0,
                }));
                if self.list.len() > full {
                    threshold = thin_out(&mut self.list, k);
                }
            }
        }
        if self.list.len() > k {
            thin_out(&mut self.list, k);
        }
    }
}

impl Candidates {
    /// Keeps the `k` most likely of the remaining candidates.
    pub(crate) fn keep_top_k(&mut self, k: usize) {
        if self.list.len() > k {
            thin_out(&mut self.list, k);
        }
    }
}

/// Keeps the `k` best of more than `k` and returns the logit of the last of them.
fn thin_out(list: &mut Vec<Candidate>, k: usize) -> f32 {
    let (_, last, _) = list.select_nth_unstable_by(k - 1, Candidate::rank);
    let threshold = last.logit;
    list.truncate(k);
    threshold
}
