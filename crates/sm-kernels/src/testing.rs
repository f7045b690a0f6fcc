//! Small plans with random weights, to test whatever runs plans.

mod plans;
mod weights;

pub use plans::{CONTEXT_LEN, VOCAB_SIZE, decoder, experts};
pub use weights::{RandomWeights, random_values};
