//! Replays recorded traffic on a real engine.
//!
//! A trace records when requests arrived, how long their prompts and outputs were, and which blocks prompts share. It is
//! scaled to the model; prompts have equal tokens where the trace has equal blocks, and arrive at the trace's times.

pub mod drive;
pub mod fairness;
pub mod lru;
pub mod report;
pub mod scale;
pub mod trace;
pub mod verify;

/// Mixes 64 bits well: the finalizer of `SplitMix64`.
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
