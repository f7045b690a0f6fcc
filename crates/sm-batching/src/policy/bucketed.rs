//! Static batches of requests of similar length.
//!
//! ```text
//! bucket(len) = ⌈len / bucket_size⌉        128: 1..=128 → 1, 129..=256 → 2, …
//! ```
//!
//! The bucket of the first request in the queue goes first, so that nobody starves, then its neighbours, nearest first. In
//! engines that pad, this bounds padding to one bucket per sequence. Nothing is padded here; the remaining effect is that
//! prompts of similar length finish prefill together.

use super::{BatchInfo, BatchLimits, BatchPolicy, Count, RequestShape, take_while};
use crate::error::BatchingError;

/// Maps lengths to buckets of equal width: with width 128, lengths 1 to 128 share a bucket, 129 to 256 the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucketer {
    /// Width, in tokens; at least 1.
    bucket_size: usize,
}

impl Bucketer {
    /// Buckets of this width; 0 is treated as 1.
    pub fn new(bucket_size: usize) -> Self {
        Self { bucket_size: bucket_size.max(1) }
    }

    /// The bucket of a length, from 1; length 0 is in bucket 0.
    pub fn bucket(&self, len: usize) -> usize {
        len.div_ceil(self.bucket_size)
    }

    /// The maximum length in a bucket.
    pub fn bucket_len(&self, bucket: usize) -> usize {
        bucket.saturating_mul(self.bucket_size)
    }
}

/// Takes the bucket of the first request, then its neighbours, nearest first, while slots and tokens allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucketed {
    bucketer: Bucketer,
    limits: BatchLimits,
}

impl Bucketed {
    /// Buckets of `bucket_size` tokens, and batches within `limits`, counted as if padded.
    pub fn new(bucket_size: usize, limits: BatchLimits) -> Self {
        Self { bucketer: Bucketer::new(bucket_size), limits }
    }
}

impl BatchPolicy for Bucketed {
    fn select(&self, running: &BatchInfo, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        let Some(first) = waiting.first() else {
            return;
        };
        let own = self.bucketer.bucket(first.prompt_len);
        let mut nearest: Vec<(usize, RequestShape)> = waiting.iter().copied().enumerate().collect();
        // The sort is stable: equally near requests keep queue order.
        nearest.sort_by_key(|(_, request)| self.bucketer.bucket(request.prompt_len).abs_diff(own));
        let fits = |batch: &BatchInfo| self.limits.check(batch, Count::Padded).is_ok();
        take_while(running, nearest, n_slots, fits, chosen);
    }

    fn check(&self, request: &RequestShape) -> Result<(), BatchingError> {
        self.limits.check_alone(request, Count::Padded)
    }
}
