//! Greedy sampling.

use sm_tensor::TokenId;

use super::{Candidate, Draw, Sampler};

/// Picks the most likely token; ties go to the lower id.
#[derive(Clone, Copy, Debug)]
pub struct Greedy;

impl Sampler for Greedy {
    fn sample(&self, candidates: &[Candidate], _draw: Draw) -> TokenId {
        candidates.iter().min_by(|a, b| a.rank(b)).map_or(TokenId(0), |best| best.token)
    }
}
