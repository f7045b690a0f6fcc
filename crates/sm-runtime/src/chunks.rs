//! Hashes of the chunks of large memory, by several threads.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, available_parallelism};

/// Bytes of a chunk: small enough to share out, large enough that few hashes result.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// The hash of each chunk of [`CHUNK_BYTES`]. Uses up to `n_threads`, fewer if the system refuses some.
pub(crate) fn hashes<T: Default + Clone + Send>(
    bytes: &[u8],
    n_threads: usize,
    hash: impl Fn(&[u8]) -> T + Sync,
) -> Vec<T> {
    let mut hashes = vec![T::default(); bytes.len().div_ceil(CHUNK_BYTES)];
    let n_helpers = n_threads.min(hashes.len()).saturating_sub(1);
    let chunks = Mutex::new(hashes.iter_mut().zip(bytes.chunks(CHUNK_BYTES)));
    let next = || chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((result, chunk)) = next() {
            *result = hash(chunk);
        }
    };
    std::thread::scope(|scope| {
        // Without helpers it only takes longer.
        let _ = (0..n_helpers).try_for_each(|_| Builder::new().spawn_scoped(scope, work).map(drop));
        work();
    });
    hashes
}

/// Threads of this process that can run at once.
pub(crate) fn n_processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_chunks_in_order_whoever_computes_them() {
        let bytes: Vec<u8> = (0..2 * CHUNK_BYTES + 5).map(|i| (i >> 12) as u8).collect();
        let expected: Vec<u32> = bytes.chunks(CHUNK_BYTES).map(crc32fast::hash).collect();
        for n_threads in [0, 1, 2, 9] {
            assert_eq!(hashes(&bytes, n_threads, crc32fast::hash), expected);
        }
        assert!(hashes(&[], 2, crc32fast::hash).is_empty());
    }
}
