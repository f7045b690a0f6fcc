//! Why a request has no answer.

use sm_runtime::ErrorKind;

/// Why a request has no answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) message: String,
    /// What the sender can do about it.
    pub(super) kind: ErrorKind,
}
