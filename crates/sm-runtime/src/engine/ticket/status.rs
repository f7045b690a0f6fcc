//! Where a request is between its submission and its end.

use std::sync::atomic::{AtomicU8, Ordering};

/// Status of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestStatus {
    /// Waiting in the queue.
    Queued,
    /// Taking part in steps.
    Running,
    /// Finished by itself, or a stream ran out of time.
    Completed,
    /// Failed.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl RequestStatus {
    /// Whether the request has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A status that outlives its ticket.
#[derive(Debug)]
pub(crate) struct StatusCell(AtomicU8);

impl StatusCell {
    const ALL: [RequestStatus; 5] = [
        RequestStatus::Queued,
        RequestStatus::Running,
        RequestStatus::Completed,
        RequestStatus::Failed,
        RequestStatus::Cancelled,
    ];

    /// The status of a request that has just been submitted.
    pub(super) fn queued() -> Self {
        Self(AtomicU8::new(RequestStatus::Queued as u8))
    }

    pub(crate) fn get(&self) -> RequestStatus {
        Self::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    pub(super) fn set(&self, status: RequestStatus) {
        self.0.store(status as u8, Ordering::Release);
    }
}
