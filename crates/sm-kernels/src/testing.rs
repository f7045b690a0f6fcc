//! Small plans with random weights, to test whatever runs plans, and the limits that kernels are measured by.

mod plans;
mod weights;

#[cfg(feature = "cpu")]
pub use crate::cpu::peak::{Precision, multiply_and_add};
pub use plans::{CONTEXT_LEN, VOCAB_SIZE, decoder, experts, mixed_decoder};
pub use weights::{RandomWeights, encoded, random_blocks, random_values};
