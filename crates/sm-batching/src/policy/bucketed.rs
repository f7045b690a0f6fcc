//! Requests of similar length.

use super::{BatchInfo, BatchPolicy, Waiting, check_tokens, take_while};
use crate::error::BatchingError;

/// Sorts lengths into buckets of equal width: with 128, lengths 1 to 128 share one, 129 to 256 the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucketer {
    /// Width, in tokens; at least 1.
    bucket_size: usize,
}

impl Bucketer {
    /// Buckets of this width; 0 is taken as 1.
    pub fn new(bucket_size: usize) -> Self {
        Self { bucket_size: bucket_size.max(1) }
    }

    /// The bucket of a length, counted from 1; that of length 0 is 0.
    pub fn bucket(&self, len: usize) -> usize {
        len.div_ceil(self.bucket_size)
    }

    /// The longest length of a bucket.
    pub fn bucket_len(&self, bucket: usize) -> usize {
        bucket.saturating_mul(self.bucket_size)
    }
}

/// Takes the bucket of the first request, then its neighbours, nearest first, while slots and tokens allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucketed {
    bucketer: Bucketer,
    max_total_tokens: usize,
}

impl Bucketed {
    /// Buckets of `bucket_size` tokens, and batches of at most `max_total_tokens`, counted as if padded.
    pub fn new(bucket_size: usize, max_total_tokens: usize) -> Self {
        Self { bucketer: Bucketer::new(bucket_size), max_total_tokens }
    }
}

impl BatchPolicy for Bucketed {
    fn select(&self, waiting: &[Waiting], n_slots: usize, chosen: &mut Vec<usize>) {
        let Some(first) = waiting.first() else {
            return;
        };
        let own = self.bucketer.bucket(first.len);
        let mut nearest: Vec<(usize, Waiting)> = waiting.iter().copied().enumerate().collect();
        // Stable, so that the order of the queue holds within a distance.
        nearest.sort_by_key(|(_, request)| self.bucketer.bucket(request.len).abs_diff(own));
        let fits = |batch: &BatchInfo| batch.padded_tokens() <= self.max_total_tokens;
        take_while(nearest, n_slots, fits, chosen);
    }

    fn check(&self, request: &Waiting) -> Result<(), BatchingError> {
        check_tokens(request, self.max_total_tokens)
    }
}
