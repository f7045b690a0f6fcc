//! Simulates replicas of `sm serve` behind a router, on recorded traffic.
//!
//! Each replica has the real scheduler and the real cache; only the step is replaced, by the time that it takes. So what a
//! router does to prefix hits, batches and queues comes out as it would, for more machines than there are.
//!
//! * [`trace`] reads recorded traffic, [`scale`] shrinks it to a model, [`workload`] makes as much of it as a fleet needs.
//! * [`cost`] predicts the time of a step from the figures of one machine.
//! * [`router`] chooses a replica for a request; [`replica`] is one; [`fleet`] runs them all against a clock of its own.
//!
//! The crate depends on no backend, so that it builds in seconds.

pub mod cost;
pub mod fleet;
pub mod replica;
pub mod report;
pub mod router;
pub mod scale;
pub mod trace;
pub mod workload;

/// Mixes 64 bits well: the finalizer of `SplitMix64`.
pub fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
