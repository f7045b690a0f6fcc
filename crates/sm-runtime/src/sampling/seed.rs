//! Random seeds and reproducible test tokens.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use sm_tensor::TokenId;

use super::philox4x32_10;

/// A seed that differs from call to call and from process to process.
pub fn random_seed() -> u64 {
    // The standard library seeds its hasher from the system's random source once per thread and then counts up. The time
    // covers systems without a random source.
    RandomState::new().hash_one(SystemTime::now())
}

/// The `index`-th token of a fixed pseudo-random text.
pub(crate) fn random_token(index: u64, vocab_size: usize) -> TokenId {
    let word = philox4x32_10([index as u32, (index >> 32) as u32, 0, 0], [0, 0])[0];
    TokenId(((u64::from(word) * vocab_size as u64) >> 32) as u32)
}
