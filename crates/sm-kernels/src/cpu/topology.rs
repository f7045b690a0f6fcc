//! What the machine has.

use std::num::NonZero;
use std::thread::available_parallelism;

use super::executor::MAX_THREADS;

/// One thread for each processor that this process may use.
///
/// Where two processors share a core, the second helps little, but which ones this process may use the system does not
/// say portably.
pub(crate) fn default_threads() -> usize {
    n_cores().min(MAX_THREADS)
}

/// Processors that this process may use.
pub(crate) fn n_cores() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}
