//! Keeping the k likeliest tokens.

use sm_tensor::TokenId;

use super::{Candidate, Candidates};

/// Logits compared at once: a whole number of vectors on every machine.
const CHUNK_LEN: usize = 32;

impl Candidates {
    /// Exactly the `k` likeliest tokens (fewer only if fewer are allowed), ties to the lower id.
    ///
    /// Collects what beats the k-th best so far, and thins the collection out whenever it has doubled: one pass over
    /// the logits, in which almost all chunks fail one vector comparison.
    pub(crate) fn gather_top_k(&mut self, logits: &[f32], k: usize) {
        let full = (2 * k).max(k + CHUNK_LEN);
        self.list.clear();
        self.list.reserve(full + CHUNK_LEN);
        let mut threshold = f32::NEG_INFINITY;
        for (chunk_idx, chunk) in logits.chunks(CHUNK_LEN).enumerate() {
            // Strictly greater: a later token with an equal logit has a higher id and loses the tie.
            if !chunk.iter().fold(false, |any, &logit| any | (logit > threshold)) {
                continue;
            }
            let first = (chunk_idx * CHUNK_LEN) as u32;
            let better = (first..).zip(chunk).filter(|(_, logit)| **logit > threshold);
            self.list.extend(better.map(|(token, &logit)| Candidate {
                token: TokenId(token),
                logit,
                mass: 0,
            }));
            if self.list.len() >= full {
                threshold = self.thin_out(k);
            }
        }
        if self.list.len() > k {
            self.thin_out(k);
        }
    }

    /// Keeps the `k` best of more than `k` and returns the logit of the last of them.
    fn thin_out(&mut self, k: usize) -> f32 {
        let (_, last, _) = self.list.select_nth_unstable_by(k - 1, Candidate::rank);
        let threshold = last.logit;
        self.list.truncate(k);
        threshold
    }
}
