//! The likeliest token.

use sm_tensor::TokenId;

use super::{Candidate, Draw, Sampler};

/// Always the likeliest token, the lower id among equals.
#[derive(Clone, Copy, Debug)]
pub struct Greedy;

impl Sampler for Greedy {
    fn sample(&self, candidates: &[Candidate], _draw: Draw) -> TokenId {
        candidates.iter().min_by(|a, b| a.rank(b)).map_or(TokenId(0), |best| best.token)
    }
}
