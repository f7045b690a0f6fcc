//! Random numbers that need not be repeatable, and such that must.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use sm_tensor::TokenId;

use super::philox4x32_10;

/// A seed that differs from call to call and from process to process.
pub fn random_seed() -> u64 {
    // The standard library keys its hasher from the system's random numbers once per thread and counts from there; the
    // time is in the hash for systems without such numbers.
    RandomState::new().hash_one(SystemTime::now())
}

/// The `index`-th token of a fixed random text.
pub(crate) fn random_token(index: u64, vocab_size: usize) -> TokenId {
    let word = philox4x32_10([index as u32, (index >> 32) as u32, 0, 0], [0, 0])[0];
    TokenId(((u64::from(word) * vocab_size as u64) >> 32) as u32)
}
